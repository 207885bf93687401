"""What gpt_magic's models and training are worth, measured."""
