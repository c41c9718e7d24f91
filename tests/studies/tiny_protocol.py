"""A protocol whose cells run in a second or two."""

TINY = {
    "title": "Tiny",
    "training": {"rollouts": 2, "problems": 4, "responses": 4, "updates": 2},
    "tasks": {"operator_puzzle": {"warm_start": {"layers": 1, "hidden": 16, "heads": 2, "steps": 60, "batch": 32}}},
    "problems": {"train": 50, "validation": 6, "test": 6},
    "evaluation": {"validation_samples": 4, "test_samples": 8},
    "evaluated_after": [1, 2],
    "temperatures": [0.5, 1.0],
    "learning_rates": [2.0e-4, 1.0e-4, 4.0e-4],
    "tuning_seed": 9,
    "final_seeds": [1, 2],
    "methods": {
        "grpo": {"row": "grpo"},
        "grpo_stopped": {"row": "grpo", "stopped": True},
        "nsr": {"row": "nsr"},
        "simko": {"row": "simko", "settings": [{"alpha": 0.1}, {"alpha": 0.3}]},
        "simko_untuned": {"row": "simko", "learning_rate_of": "grpo"},
        "simko_itself": {"row": "simko_adaptive", "learning_rate_of": "grpo"},
    },
    "sensitivity": {
        "tasks": ["operator_puzzle"],
        "methods": ["simko"],
        "seeds": [1],
        "options": {"alpha": [0.0, 0.1, 0.3]},
    },
}
