"""A recipe file -> a trainer -> a run directory. `recipe` and `run` import TRL; `run_directory` does not."""
