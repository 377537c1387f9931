"""What an administrator is told of each outcome of a consent, in plain words, and who must act."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a visit to the consent page; a label of its metric."""

    BEGUN = "begun"
    ACTIVE = "active"
    AWAITING = "awaiting"
    KNOWN = "known"
    USED = "used"
    EXPIRED = "expired"
    FORGED = "forged"
    OTHER_BROWSER = "other_browser"
    NOT_BEGUN = "not_begun"
    DECLINED = "declined"
    NOT_ADMINISTRATOR = "not_administrator"
    ENTRA_ERROR = "entra_error"
    OTHER_DIRECTORY = "other_directory"
    NOT_VISIBLE = "not_visible"
    NO_ROLE = "no_role"
    NO_SERVICE = "no_service"
    BLOCKED = "blocked"
    OURS = "ours"
    BUSY = "busy"
    TOO_MANY = "too_many"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Told:
    """One outcome as a page: `{partner}` in its lines is the partner's name.

    `again` is what the way back is called, where there is one.
    """

    status: int
    tone: str
    mark: str
    title: str
    lines: tuple[str, ...]
    again: str = "Try again"


def _good(title: str, *lines: str) -> Told:
    return Told(200, "good", "✓", title, lines)


def _wait(title: str, *lines: str, status: int = 200, again: str = "Try again") -> Told:
    return Told(status, "wait", "…", title, lines, again)


def _bad(title: str, *lines: str, status: int = 200) -> Told:
    return Told(status, "bad", "!", title, lines)


_ASK_ANEW = "Ask {partner} for a new invitation."
_NOTHING = "Nothing was changed."

# One word for both: whoever names a directory that is not theirs must not learn whether it is known.
_ARRIVED = _good(
    "Your consent has arrived",
    "{partner} looks at it before anything is read; if your organization is connected already, nothing "
    "changes.",
    "There is nothing else to do. You can close this page.",
)

WORDS: dict[Outcome, Told] = {
    Outcome.ACTIVE: _good(
        "It worked",
        "Your organization is connected: {partner} reads its Microsoft Defender alerts from now on.",
        "There is nothing else to do. You can close this page.",
    ),
    Outcome.AWAITING: _ARRIVED,
    Outcome.KNOWN: _ARRIVED,
    Outcome.USED: _bad(
        "This invitation has been used",
        "An invitation works once. " + _NOTHING,
        "If that was not you, or not your directory, tell {partner}. " + _ASK_ANEW,
        status=403,
    ),
    Outcome.EXPIRED: _bad("This invitation has expired", _NOTHING + " " + _ASK_ANEW, status=410),
    Outcome.FORGED: _bad(
        "This link is not valid",
        "Perhaps it was cut when it was copied: open it once more from the message that it came in.",
        _NOTHING + " If it still does not work: " + _ASK_ANEW,
        status=403,
    ),
    Outcome.OTHER_BROWSER: _bad(
        "This did not begin in this browser",
        "For your safety a consent has to begin and end in one browser, within an hour, and cookies of this "
        "page have to be allowed. " + _NOTHING,
        "Open your invitation here, and continue from there.",
        status=403,
    ),
    Outcome.NOT_BEGUN: Told(
        403,
        "wait",
        "?",
        "Please begin here",
        (
            "You come from Microsoft, but this page cannot tell who invited you, so it has changed nothing.",
            "If you have an invitation, open it. Otherwise begin here: it takes a minute.",
        ),
        "Begin",
    ),
    Outcome.DECLINED: _bad(
        "You have not consented",
        _NOTHING + " {partner} cannot read any alerts.",
        "If that was a mistake, you can begin again with the same invitation.",
    ),
    Outcome.NOT_ADMINISTRATOR: _bad(
        "This needs an administrator",
        "Microsoft says that whoever signed in may not consent for the organization. " + _NOTHING,
        "Let a Cloud Application Administrator, an Application Administrator or a Privileged Role "
        "Administrator open the same invitation.",
    ),
    Outcome.ENTRA_ERROR: _bad(
        "Microsoft could not finish it",
        _NOTHING
        + " Try once more; if it does not work, tell {partner} what Microsoft said, see below.",
    ),
    Outcome.OTHER_DIRECTORY: _bad(
        "This was another directory",
        "The invitation is for one directory, and you signed in to a different one, see below. Nothing of "
        "it is read.",
        "Begin again and sign in with an account of the invited organization. In the other directory you can "
        "delete the application under Enterprise applications.",
        status=403,
    ),
    Outcome.NOT_VISIBLE: _wait(
        "Microsoft needs a moment",
        "Your consent does not show at Microsoft yet. That can take a minute or two.",
        "Wait a little, then check again. You do not have to consent anew.",
        status=503,
        again="Check again",
    ),
    Outcome.NO_ROLE: _bad(
        "A permission is missing",
        "You consented, but what you consented to does not include reading alerts (Alert.Read.All).",
        "Begin again and accept everything that Microsoft shows, as an administrator who may consent for the "
        "whole organization. If it comes out like this again, tell {partner}.",
    ),
    Outcome.NO_SERVICE: _bad(
        "Microsoft Defender does not answer",
        "You consented, but Microsoft does not let your alerts be read: most likely the organization has no "
        "Microsoft Defender for Endpoint, or it is not set up yet.",
        "See to that, or ask {partner}. Afterwards open the same invitation again.",
    ),
    Outcome.BLOCKED: _bad(
        "Your organization blocks it",
        "You consented, but a setting of your directory keeps {partner} from reading: the application is "
        "disabled there under Enterprise applications, or a Conditional Access policy applies to it.",
        "Change that, and open the same invitation again.",
    ),
    Outcome.OURS: _bad(
        "This is on our side",
        "Your consent cannot be confirmed now, and it is not your fault. Nothing is lost.",
        "Check again in a few minutes; if it stays like this, tell {partner}.",
        status=503,
    ),
    Outcome.BUSY: _wait(
        "One moment, please",
        "Many organizations consent right now. Check again in a minute; you do not have to consent anew.",
        status=503,
        again="Check again",
    ),
    Outcome.TOO_MANY: _wait(
        "One moment, please", "That was a lot of requests. Wait a minute and try again.", status=429
    ),
    Outcome.NOWHERE: _bad(
        "There is nothing here", "Open the link of your invitation once more.", status=404
    ),
}
"""By outcome; only `BEGUN` shows no page: it leads to Microsoft."""
