"""Networks as pure `init` and `apply`."""

from .activations import Activation as Activation
from .activations import activation as activation
from .balance import balanced_layers as balanced_layers
from .balance import balanced_split as balanced_split
from .base import AbstractModel as AbstractModel
from .base import Neurons as Neurons
from .base import trainable as trainable
from .homogeneity import homogeneity as homogeneity
from .mlp import MLP as MLP
from .two_layer import TwoLayer as TwoLayer
from .widening import add_neuron as add_neuron
from .widening import split_neuron as split_neuron
from .wrappers import Centred as Centred
from .wrappers import Network as Network
from .wrappers import Taylor as Taylor
