"""1-D convolution and its transpose, equal to torch's in value and gradients, by the fastest form.

:func:`convolve` and :func:`transpose_convolve` take the place of ``conv1d`` and ``conv_transpose1d``;
:class:`Convolution1d` and :class:`Padding1d` take the place of the modules. The form is chosen by a fixed
rule (:mod:`~asr_introspect.convolution.choice`), never by timing, so the same call gives the same bits.
"""

from asr_introspect.convolution.choice import Form, form, using_form
from asr_introspect.convolution.functions import convolve, transpose_convolve
from asr_introspect.convolution.layout import channels_last, pad
from asr_introspect.convolution.modules import Convolution1d, Padding1d

__all__ = [
    "Convolution1d",
    "Form",
    "Padding1d",
    "channels_last",
    "convolve",
    "form",
    "pad",
    "transpose_convolve",
    "using_form",
]
