"""The status page in a real browser: by keyboard alone, in light and dark, and nothing is blocked."""

import pytest

from ingest.portal.admin import AdminPortal
from ingest.settings.admin import Admin
from tests.harness.browser import Browser
from tests.unit.portal.fleet import Made, guid

pytestmark = pytest.mark.browser

GROUND = "getComputedStyle(document.body).backgroundColor"


async def test_the_customer_who_is_dark_is_found_by_keyboard_alone(tmp_path):
    made = Made()
    for number in range(1, 300):
        made.add(number)
    made.park(300)
    portal = AdminPortal(
        settings=Admin(port=0),
        token=None,
        view=made.view,
        consent_url=lambda tenant: f"https://login.test/{tenant}/adminconsent",
    )
    async with portal, Browser.open(tmp_path / "profile") as browser:
        await browser.open_page(portal.url)
        grounds = []
        for scheme in ("light", "dark"):
            await browser.scheme(scheme)
            grounds.append(await browser.value(GROUND))
        # Its own style is let in by its hash: without it both were white.
        assert grounds == ["rgb(245, 246, 248)", "rgb(14, 17, 22)"]
        assert await browser.value("document.querySelectorAll('tbody tr').length") == 100
        await browser.press("1 parked")
        assert await browser.value("document.querySelectorAll('tbody tr').length") == 1
        await browser.press("Customer 300")
        assert await browser.value("document.querySelector('h1').innerText") == "Customer 300"
        link = f"https://login.test/{guid(300)}/adminconsent"
        assert await browser.value("document.querySelector('.card a').href") == link
        await browser.press("All tenants")
        await browser.press("Next")
        assert (
            await browser.value("document.querySelector('.pages span').innerText") == "Page 2 of 3"
        )
        assert browser.complaints == []
