"""What pixels alone say: views, ONNX runtime, calibration, abstention and heat maps. No torch here."""
