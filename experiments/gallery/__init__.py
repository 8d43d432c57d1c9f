"""The examples of the gallery that are no figure of the paper and no known result:
python -m experiments.gallery.digits and its like."""
