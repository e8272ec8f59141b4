"""What the published quality rules have in common: each is its own configuration, in a group with a switch.

A new rule is one small class with its thresholds, its ``name`` and its ``check``, a field in the group it belongs
to, and a test.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field

from tasks.cleaning.page import Finding, Page, Rule
from tasks.config import StageConfig
from tasks.sources.config_base import Domain

Maximum = Annotated[
    float, Field(ge=0, le=1, description="Largest share that may stay; 1 lets everything pass.")
]
Ceiling = Annotated[
    float, Field(gt=0, le=1, description="Share from which, this one included, a document goes.")
]


class PublishedRule(StageConfig):
    """A rule for documents that somebody published, with its thresholds as the configuration."""

    name: ClassVar[str]
    enabled: bool = Field(default=True, description="Whether this rule is asked when its group is on.")

    @abstractmethod
    def check(self, page: Page) -> Finding | None:
        """None when the page may stay."""

    def _above(self, share: float, maximum: float, what: str) -> Finding | None:
        """What a share above its maximum means."""
        if share <= maximum:
            return None
        return Finding(self.name, f"{share:.1%} {what}, more than {maximum:.1%}", share)


class RuleGroup(StageConfig):
    """Rules that were published together; off unless asked for."""

    enabled: bool = Field(default=False, description="Whether these rules are asked at all.")
    domains: tuple[Domain, ...] = Field(
        default=("web",),
        description="Domains whose documents are asked, every one if empty. The rules were made for web pages: "
        "verse, dialogue and posts fail them and are still text.",
    )

    def applies_to(self, domain: str) -> bool:
        """Whether documents of this domain are held against the group."""
        return self.enabled and (not self.domains or domain in self.domains)

    def rules(self, domain: str) -> tuple[Rule, ...]:
        """The rules that are on, in the order of the fields; none for a domain that is not asked."""
        if not self.applies_to(domain):
            return ()
        fields = [getattr(self, field) for field in type(self).model_fields]
        return tuple(rule for rule in fields if isinstance(rule, PublishedRule) and rule.enabled)
