"""The synthetic set: what is learned, how it is decoded, and the steps that it takes."""
