"""The shape of every result: reserved dimension names, the schema version, and what may differ between equal runs."""

VERSION = 1

# Reserved dimensions and coordinates: name -> (unit, long name).
DIMENSIONS: dict[str, tuple[str, str]] = {
    "chip": ("1", "seed of the fabricated chip"),
    "die": ("1", "chip of those that a trial simulates side by side"),
    "sample": ("1", "index of the sample in its split"),
    "layer": ("1", "layer of the network, input side first"),
    "neuron": ("1", "neuron of the layer"),
    "row": ("1", "row of the array, bias rows last"),
    "column": ("1", "column of the array"),
    "parameter": ("1", "role of a circuit's parameter"),
    "cell": ("1", "cell, in the order asked for"),
    "current": ("A", "input current"),
    "time": ("s", "time since the start of the window"),
    "part": ("1", "kind of operation"),
    "epoch": ("1", "passes over the learning samples"),
    "stage": ("1", "before or after on-chip learning"),
    "seed": ("1", "seed of the initial weights"),
}

# Attributes and variables that may differ between two runs that are otherwise identical.
VOLATILE: frozenset[str] = frozenset({"wall_time", "peak_memory", "host", "date"})
