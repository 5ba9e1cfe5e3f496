import json, sys
import numpy as np, onnxruntime as ort

session = ort.InferenceSession(sys.argv[1])  # an exported file
transform = json.loads(session.get_modelmeta().custom_metadata_map["input_transform"])
mean, std = (np.float32(transform[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
pixels = np.fromfile(sys.argv[2], np.uint8).astype(np.float32) / 255  # raw pixels, channel by channel
shape = [size if isinstance(size, int) else -1 for size in session.get_inputs()[0].shape]
logits = session.run(["logits"], {"input": (pixels.reshape(shape) - mean) / std})[0]
print(logits.argmax(axis=1))  # the class of every image
