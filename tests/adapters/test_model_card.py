"""The card that a run leaves beside its model."""

from tiny import make_trainer, tiny_model


def test_model_card_names_the_paper(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.create_model_card()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2510.14807" in card


def test_model_card_of_a_model_without_a_hub_id(tmp_path):
    tiny_model().save_pretrained(tmp_path / "base")
    loaded = type(tiny_model()).from_pretrained(tmp_path / "base")
    for model, said in ((tiny_model(), "given as an object"), (loaded, f"the model in `{tmp_path / 'base'}`")):
        make_trainer(tmp_path, model=model, max_steps=1, save_strategy="steps", save_steps=1).train()
        card = (tmp_path / "out" / "README.md").read_text()
        assert f"fine-tuned version of {'' if model is loaded else 'a model that was '}{said}." in card
        assert f'pipeline("text-generation", model="{tmp_path / "out" / "checkpoint-1"}"' in card
        assert "None" not in card
    hub = tiny_model()
    hub.config._name_or_path = "someone/model"
    make_trainer(tmp_path, model=hub).create_model_card()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fine-tuned version of [someone/model](https://huggingface.co/someone/model)." in card
    assert "SimKO" in card
