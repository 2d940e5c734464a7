"""What a request says of its side, prompt or instruction -> what stands before its texts.

Only a template is ever filled in, and only at {instruction}; a text of the user may hold any braces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Prompting


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Of a model. default: for texts that name no side. instruction: a template, if it has one."""

    named: Mapping[str, str] = field(default_factory=dict)
    default: str = ""
    query: str = ""
    document: str = ""
    instruction: str | None = None

    def before(self, wanted: Prompting) -> str:
        """Raises InvalidInput."""
        if wanted.prompt_name is not None and wanted.instruction is not None:
            problem = "a prompt's name and an instruction exclude each other; send one of them"
            raise InvalidInput("prompt", problem)
        if wanted.prompt_name is not None:
            return self._named(wanted.prompt_name)
        if wanted.instruction is not None:
            return self._instructed(wanted.instruction, wanted)
        return {"query": self.query, "document": self.document, None: self.default}[wanted.side]

    def _named(self, name: str) -> str:
        if name not in self.named:
            allowed = ", ".join(sorted(self.named)) or "none: the model has no prompts"
            raise InvalidInput("prompt", f"there is no prompt {name!r}; allowed: {allowed}")
        return self.named[name]

    def _instructed(self, instruction: str, wanted: Prompting) -> str:
        """A model with a template has it for queries: its documents stay as they are.

        A model without one gets the instruction as it is, as from sentence-transformers' `prompt`.
        """
        if self.instruction is None:
            return instruction
        if wanted.side == "document":
            return self.document
        return self.instruction.replace("{instruction}", instruction)
