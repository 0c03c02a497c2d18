"""Methods that match captions to pictures, trained on the features of frozen image and text towers."""
