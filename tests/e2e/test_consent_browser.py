"""A customer's administrator in a real browser, by keyboard alone: from the link to the first poll.

With `SCREENSHOTS=FOLDER` the pages are kept there, in both schemes, for people to look at.
"""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.harness.browser import Browser
from tests.harness.onboarding import PARTNER, installation

SECONDS = 30
"""Ten are promised; a machine that many share is given thrice that."""

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def made(embedded_kafka, tmp_path):
    with installation(embedded_kafka.bootstrap, tmp_path) as made:
        made.start()
        yield made


@pytest.fixture
def pictures(tmp_path):
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def look(browser, pictures, name):
    """Take a picture in both schemes, and hold that they differ in what the eye meets first."""
    grounds = {}
    for scheme in ("light", "dark"):
        await browser.scheme(scheme)
        await browser.screenshot(pictures / f"{name}-{scheme}.png")
        style = "getComputedStyle(document.body).backgroundColor"
        grounds[scheme] = await browser.value(style)
    assert grounds["light"] != grounds["dark"]
    assert (pictures / f"{name}-dark.png").stat().st_size > 5_000


async def heading(browser):
    return await browser.value("document.querySelector('h1').innerText")


async def at_microsoft(browser, directory, words):
    assert await heading(browser) == "Permissions requested"
    await browser.choose("select", directory)
    await browser.press(words)


async def test_an_administrator_consents_and_is_polled_within_seconds(made, pictures, tmp_path):
    declining, tenant = made.newcomers[:2]
    path = await asyncio.to_thread(made.invite, "Contoso Bank")
    async with Browser.open(tmp_path / "profile") as browser:
        await browser.open_page(made.page() + path)
        assert await heading(browser) == (
            f"{PARTNER} asks to read the security alerts of Contoso Bank"
        )
        assert await browser.value("document.documentElement.lang") == "en"
        await look(browser, pictures, "1-invitation")
        # Nothing lies beyond the edge of a telephone either.
        await browser.size(360, 740)
        assert await browser.value("document.documentElement.scrollWidth <= innerWidth")
        await look(browser, pictures, "1-invitation-telephone")
        await browser.size(900, 1000)

        await browser.press("Continue to Microsoft")
        await at_microsoft(browser, declining, "Cancel")
        assert await heading(browser) == "You have not consented"
        await look(browser, pictures, "2-declined")

        await browser.press("Try again")
        await browser.press("Continue to Microsoft")
        began = time.monotonic()
        await at_microsoft(browser, tenant, "Accept")
        assert await heading(browser) == "It worked"
        after = made.calls(tenant)["total"]
        await asyncio.to_thread(made.wait_for_calls, tenant, after, SECONDS)
        took = time.monotonic() - began
        print(f"polled {took:.1f} s after consent was given")
        assert took < SECONDS
        await look(browser, pictures, "3-success")

        await browser.open_page(made.page() + path)
        assert await heading(browser) == "This invitation has been used"
        await look(browser, pictures, "4-used")

        await browser.open_page(made.page() + "/")
        await look(browser, pictures, "5-uninvited")
        await browser.press("Continue to Microsoft")
        await at_microsoft(browser, declining, "Accept")
        assert await heading(browser) == "Your consent has arrived"
        await look(browser, pictures, "6-awaiting")

        # The policy of the pages forbids nothing that they need: but for the statuses of the refusals
        # that were asked for, the browser has no complaint.
        ours = [one for one in browser.complaints if made.page() in one or "Policy" in one]
        assert [one for one in ours if "status of 403" not in one] == []
    rows = await asyncio.to_thread(made.listed)
    assert rows[tenant]["standing"] == "active"
    assert rows[declining]["standing"] == "awaiting-approval"
