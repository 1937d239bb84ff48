"""Base models and supervised fine-tuning (QLoRA)."""
