"""What every section of the configuration is made of."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

File = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """What all sections share: frozen, strict about unknown keys, silent about values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        validate_default=True,
    )
