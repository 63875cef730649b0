"""Epochs of a till: extent, current epoch, end of the others, and the machine that speaks."""
