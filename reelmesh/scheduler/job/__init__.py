"""A job as a pure state machine, `(state, event) -> (state, effects)`; every wait has a deadline.

`state` holds facts and no logic; `events` say what happened, `effects` what is asked of the world;
`transition` is the one way from state to state. `due` names the next deadline, `standing` what has
to be going on in a state, so that a restarted driver replays the events and simply goes on.
"""
