"""How the tests read a label microscope in a browser."""

READY = 'document.documentElement.dataset.ready'
LARGE, SMALL, TINY = (1280, 800), (360, 740), (320, 640)


def resize(browser, size):
    browser.call(
        'Emulation.setDeviceMetricsOverride',
        width=size[0],
        height=size[1],
        deviceScaleFactor=1,
        mobile=size[0] < 500,
    )


def complaints(browser):
    kinds = ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded')
    return [event for event in browser.events if event[0] in kinds]


def text(browser, query):
    return browser.evaluate(f'document.querySelector({query!r}).textContent')


def clean(string):
    return string.replace('\N{NO-BREAK SPACE}', ' ')


def slider(browser):
    return int(browser.evaluate('document.getElementById("layer").value'))


def percent(value):
    return f'{100 * round(value, 4):.2f} %'


def place_of(browser, row, column, grid):
    """Where in the window the middle of a token is."""
    x, y, width, height = browser.evaluate(
        '(b => [b.x, b.y, b.width, b.height])'
        '(document.querySelector("#mixed canvas").getBoundingClientRect())'
    )
    return x + (column - 0.5) * width / grid[1], y + (row - 0.5) * height / grid[0]
