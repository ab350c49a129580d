"""Drawing: scenes out of prompts, in Pillow alone, and the words set on them."""
