"""The smallest network that does everything: for tests in which the masks need not be good."""

from napari_sam2.model.config import ModelConfig

TINY = ModelConfig(
    image_size=64,
    trunk_width=16,
    stages=(1, 1, 1, 1),
    global_blocks=(2,),
    embed_dim=32,
    memory_dim=16,
    memory_layers=1,
    memory_feedforward=64,
    decoder_heads=2,
    decoder_feedforward=64,
    iou_hidden=32,
)
