"""Fields of a weighting that are trained with the network, as parameters of a loss.

Shapes: N anchors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import checks
from ..weightings import PairWeighting
from ..weightings.check import check_trained
from ..weightings.rules import is_positive, number_fields

Trainable = Iterable[str] | Mapping[str, int | None]


class TrainedField(NamedTuple):
    """A field that is kept as a parameter."""

    name: str
    parameter: str
    is_log: bool
    num_classes: int | None  # None: one value for all


class TrainedFields:
    """Mixin of losses that train fields of their weighting; put it before the other bases.

    A positive field f (a temperature, scale or sharpness, annotated ``Positive``) is kept as
    ``log_f``, others under their own name. ``loss.f`` reads today's value and can be set.
    """

    weighting: PairWeighting
    _parameters: dict[str, nn.Parameter | None]
    _modules: dict[str, Any]
    _buffers: dict[str, Any]
    trained: tuple[TrainedField, ...] = ()  # no dict: PML's logging records what is in those
    """The fields that are trained."""

    def train_fields(self, trainable: Trainable) -> None:
        """Make parameters of fields of the weighting: by name, or by name and number of classes.

        Errors: ValueError for names that are no fields with numbers, for a weighting without a
        loss, and for a field whose gradient is not that of the formula, tried in float64.
        """
        if isinstance(trainable, str):
            raise ValueError(f"trainable must be names in a tuple, got the string {trainable!r}")
        asked = trainable if isinstance(trainable, Mapping) else dict.fromkeys(trainable)
        self.trained = ()
        for name, num_classes in asked.items():
            self.trained = (*self.trained, self._made_parameter(name, num_classes))

    def _made_parameter(self, name: str, num_classes: int | None) -> TrainedField:
        weighting = self.weighting
        checks.one_of("trainable", name, tuple(number_fields(weighting)))
        if num_classes is not None:
            checks.positive_integer(f"trainable[{name!r}]", num_classes)
        if type(weighting).for_negated_distances is not PairWeighting.for_negated_distances:
            raise ValueError(
                f"trainable must be empty for {type(weighting).__name__}, whose own "
                "for_negated_distances does not reach parameters: name the fields that change "
                "their sign in levels instead"
            )
        check_trained(weighting, name, per_anchor=num_classes is not None)
        is_log = is_positive(weighting, name)
        parameter = f"log_{name}" if is_log else name
        taken = {*self.__dict__, *self._modules, *self._buffers}
        of_class = getattr(type(self), parameter, None)
        if parameter in taken or of_class is not None:
            raise ValueError(
                f"trainable must not name {name!r}: {type(self).__name__} has an attribute "
                f"{parameter} of its own; give the field another name"
            )
        value = float(getattr(weighting, name))
        start = torch.full(() if num_classes is None else (num_classes,), value)
        self._parameters[parameter] = nn.Parameter(start.log() if is_log else start)
        return TrainedField(name, parameter, is_log, num_classes)

    def values_of(self, labels: Tensor | None, dtype: torch.dtype) -> dict[str, Tensor]:
        """Today's values with their graph: () each, or (N,), those of the classes of the anchors.

        Errors: ValueError for values by class without labels, or with labels of other classes.
        """
        values = {}
        for field in self.trained:
            value: Any = self._parameters[field.parameter]
            value = value.exp() if field.is_log else value
            if field.num_classes is not None:
                if labels is None:
                    raise ValueError(
                        f"labels must be given, since {field.name} has a value a class"
                    )
                if labels.numel():
                    checks.refuse_unless_in_range("labels", labels, 0, field.num_classes)
                value = value[labels.to(value.device)]
            values[field.name] = value.to(dtype)
        return values

    def current_weighting(self) -> PairWeighting:
        """The weighting with today's numbers; of a field with a value a class their mean."""
        today = {field.name: float(self._value(field).mean()) for field in self.trained}
        return replace(self.weighting, **today) if today else self.weighting  # type: ignore[type-var]

    def extra_repr(self) -> str:
        """The held values, for ``repr``, and today's value of each trained field, or its mean."""
        today = (f"now {f.name}={float(self._value(f).mean()):.4g}" for f in self.trained)
        return ", ".join([super().extra_repr(), *today])  # type: ignore[misc]

    def _trained_field(self, holder: str, name: str) -> TrainedField | None:
        fields = (field for field in self.trained if field.name == name)
        return next(fields, None) if holder == "weighting" else None

    def _value(self, field: TrainedField) -> Tensor:
        value: Any = self._parameters[field.parameter]
        return value.detach().exp() if field.is_log else value.detach()

    def field_value(self, holder: str, name: str) -> Any:
        """Today's value of a field: a number, or a tensor (num_classes,)."""
        field = self._trained_field(holder, name)
        if field is None:
            return super().field_value(holder, name)  # type: ignore[misc]
        value = self._value(field)
        return float(value) if field.num_classes is None else value

    def set_field(self, holder: str, name: str, value: Any) -> None:
        """Set a field: the parameter where it is trained, else in a new value of the holder."""
        field = self._trained_field(holder, name)
        if field is None:
            super().set_field(holder, name, value)  # type: ignore[misc]
            return
        values = value.tolist() if isinstance(value, Tensor) else value
        for number in values if isinstance(values, list) else [values]:
            replace(self.weighting, **{name: number})  # type: ignore[type-var]  # its own checks
        parameter: Any = self._parameters[field.parameter]
        with torch.no_grad():
            new = torch.as_tensor(values, dtype=torch.float64)
            parameter.copy_(new.log() if field.is_log else new)
