"""The example warehouse, training sets, and rows of the business state."""
