"""A real headless browser on the gateway's page: what it draws, what it logs, and whom it asks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Locator, async_playwright
from playwright.async_api import Page as Tab

from debkit import browser

#: Widths of a desk and of a phone.
DESK, PHONE = (1280, 900), (375, 800)


@dataclass
class Browser:
    """`open` for each look. logged: what the console said; asked: every URL that was asked for."""

    program: Any
    logged: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def open(
        self,
        url: str,
        size: tuple[int, int] = DESK,
        scheme: Literal["light", "dark"] = "light",
    ) -> Tab:
        """The page, once it has drawn what the gateway told."""
        tab: Tab = await self.program.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        tab.set_default_timeout(30_000)
        tab.on("console", lambda message: self.logged.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.logged.append(f"error: {error}"))
        tab.on("request", lambda request: self.asked.append(request.url))
        await tab.goto(url)
        await tab.wait_for_selector("#sums dd")
        return tab


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        program = await playwright.chromium.launch(
            executable_path=browser(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield Browser(program)
        await program.close()


async def overflow(tab: Tab) -> list[str]:
    """Elements that are wider than the page, or than they show. Empty: nothing is cut off at the side."""
    found: list[str] = await tab.evaluate(
        """() => [...document.querySelectorAll("body *")]
          .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1
            && !each.closest("#similar"))
          .map((each) => `${each.tagName} ${each.className}: ${each.textContent.slice(0, 40)}`)"""
    )
    return found


async def shot(tab: Tab, folder: Path, name: str) -> None:
    """A picture of the whole page, for a person to look at."""
    await tab.screenshot(path=folder / f"{name}.png", full_page=True)


async def texts_of(tab: Tab | Locator, selector: str) -> list[str]:
    """What a person reads there."""
    return [each.strip() for each in await tab.locator(selector).all_inner_texts()]
