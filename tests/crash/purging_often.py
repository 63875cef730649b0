"""The agent with its hourly jobs every second, so that a test sees purges.

Start it instead of the agent with `python -m tests.crash.purging_often --config FILE run`.
"""

from agent.cli import main

if __name__ == "__main__":
    import agent.uplink.uplink

    vars(agent.uplink.uplink)["_HOUR_SECONDS"] = 1
    main()
