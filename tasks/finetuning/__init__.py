"""Fine-tuning: the pretrained trunk learns a task from labelled examples. One module for each task."""
