"""`perennial down`."""


def run() -> None:
    from rich.console import Console

    from perennial.config.settings import Settings
    from perennial.stack.lifecycle import down

    console = Console(highlight=False)
    with console.status("stopping the stack"):
        leftovers = down(Settings.load())
    if leftovers:
        console.print(f"Ended {leftovers} processes that no supervisor knew any more.")
    console.print("Down. What was stored is kept; start again with: perennial up")
