"""Docker Engine: all that is Docker's stands here and nowhere else."""
