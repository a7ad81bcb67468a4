"""Training: one loop (`loop`), and one file a recipe that reads like its paper (`sft`, `pretrain`)."""
