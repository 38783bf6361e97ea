"""The frame: a foundation that everything imports and a roof that nothing imports."""
