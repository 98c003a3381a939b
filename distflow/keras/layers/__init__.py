"""Layers under Keras's names."""

from distflow.keras.engine.input_layer import Input, InputLayer
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.activation import (
    ELU,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
    ThresholdedReLU,
)
from distflow.keras.layers.adaptive_pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
)
from distflow.keras.layers.attention import (
    AdditiveAttention,
    Attention,
)
from distflow.keras.layers.batch_norm import (
    BatchNormalization,
)
from distflow.keras.layers.conv import (
    Conv1D,
    Conv2D,
    Conv3D,
    Convolution1D,
    Convolution2D,
    Convolution3D,
)
from distflow.keras.layers.conv_separable import (
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
from distflow.keras.layers.conv_transpose import (
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
    Convolution1DTranspose,
    Convolution2DTranspose,
    Convolution3DTranspose,
)
from distflow.keras.layers.core import (
    Activation,
    Dense,
    Embedding,
    Identity,
    Lambda,
    Masking,
)
from distflow.keras.layers.dense_features import DenseFeatures
from distflow.keras.layers.einsum_dense import (
    EinsumDense,
)
from distflow.keras.layers.group_norm import (
    GroupNormalization,
)
from distflow.keras.layers.group_query_attention import (
    GroupQueryAttention,
)
from distflow.keras.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from distflow.keras.layers.multi_head_attention import (
    MultiHeadAttention,
)
from distflow.keras.layers.normalization import (
    LayerNormalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from distflow.keras.layers.pipeline import (
    Pipeline,
    deserialize,
    serialize,
)
from distflow.keras.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from distflow.keras.layers.preprocessing.bounding_boxes import (
    MaxNumBoundingBoxes,
)
from distflow.keras.layers.preprocessing.category_encoding import (
    CategoryEncoding,
)
from distflow.keras.layers.preprocessing.discretization import (
    Discretization,
)
from distflow.keras.layers.preprocessing.gaussian_blur import (
    RandomGaussianBlur,
)
from distflow.keras.layers.preprocessing.hashing import (
    HashedCrossing,
    Hashing,
)
from distflow.keras.layers.preprocessing.mel_spectrogram import (
    MelSpectrogram,
)
from distflow.keras.layers.preprocessing.mixing import (
    CutMix,
    MixUp,
)
from distflow.keras.layers.preprocessing.normalization import (
    Normalization,
)
from distflow.keras.layers.preprocessing.random_choice import (
    AugMix,
    RandAugment,
)
from distflow.keras.layers.preprocessing.random_color import (
    RandomBrightness,
    RandomColorDegeneration,
    RandomColorJitter,
    RandomContrast,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomSaturation,
)
from distflow.keras.layers.preprocessing.random_filter import (
    AutoContrast,
    Equalization,
    RandomErasing,
    RandomPosterization,
    RandomSharpness,
    Solarization,
)
from distflow.keras.layers.preprocessing.random_geometry import (
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from distflow.keras.layers.preprocessing.random_warp import (
    RandomElasticTransform,
    RandomPerspective,
)
from distflow.keras.layers.preprocessing.resizing import (
    CenterCrop,
    RandomCrop,
    Resizing,
)
from distflow.keras.layers.preprocessing.stft_spectrogram import (
    STFTSpectrogram,
)
from distflow.keras.layers.preprocessing.string_lookup import (
    IntegerLookup,
    StringLookup,
)
from distflow.keras.layers.preprocessing.text_vectorization import (
    TextVectorization,
)
from distflow.keras.layers.preprocessing.tile_equalization import (
    ContrastLimitedAdaptiveHistogramEqualization,
)
from distflow.keras.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from distflow.keras.layers.reshaping import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from distflow.keras.layers.reversible_embedding import (
    ReversibleEmbedding,
)
from distflow.keras.layers.rnn.bidirectional import Bidirectional
from distflow.keras.layers.rnn.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from distflow.keras.layers.rnn.gru import GRU, GRUCell
from distflow.keras.layers.rnn.lstm import LSTM, LSTMCell
from distflow.keras.layers.rnn.rnn import RNN
from distflow.keras.layers.rnn.simple_rnn import SimpleRNN, SimpleRNNCell
from distflow.keras.layers.rnn.stacked_cells import StackedRNNCells
from distflow.keras.layers.rnn.time_distributed import TimeDistributed
from distflow.keras.layers.spectral_norm import (
    SpectralNormalization,
)
from distflow.keras.layers.wrapper import Wrapper
from distflow.keras.not_there import lookup

__all__ = [
    "MaxNumBoundingBoxes",
    "RandomGaussianBlur",
    "MelSpectrogram",
    "AugMix",
    "RandAugment",
    "RandomElasticTransform",
    "RandomPerspective",
    "STFTSpectrogram",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "ThresholdedReLU",
    "Pipeline",
    "deserialize",
    "serialize",
    "CutMix",
    "MixUp",
    "AutoContrast",
    "Equalization",
    "RandomErasing",
    "RandomPosterization",
    "RandomSharpness",
    "Solarization",
    "CenterCrop",
    "RandomCrop",
    "Resizing",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomSaturation",
    "CategoryEncoding",
    "Discretization",
    "HashedCrossing",
    "Hashing",
    "Normalization",
    "IntegerLookup",
    "StringLookup",
    "TextVectorization",
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "AdditiveAttention",
    "Attention",
    "EinsumDense",
    "GroupNormalization",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "ReversibleEmbedding",
    "SpectralNormalization",
    "RMSNormalization",
    "AlphaDropout",
    "Activation",
    "ActivityRegularization",
    "Add",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dense",
    "DenseFeatures",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dot",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GRU",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "LSTM",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "Minimum",
    "Multiply",
    "PReLU",
    "Permute",
    "RNN",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "StackedRNNCells",
    "Subtract",
    "TimeDistributed",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "Wrapper",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]

__getattr__ = lookup("layers")
