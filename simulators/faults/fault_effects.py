"""The faults by name, with the effect of each on each kind of equipment that can have it. Data only."""

from typing import Final

from collectors.wire.fields import WIRE_KINDS, Channel, Kind
from simulators.devices.device import Signal, Upset
from simulators.faults.fault import DAY_S, Course, Fault, Happening, Link, PointSignal, at_once
from simulators.samples import Sample, Value


def _event(**fields: Value) -> Sample:
    return Sample(Channel.EVENT, dict(fields))


_STOPPED: Final[dict[str, Value]] = {"moving": False, "direction": "none", "speed": 0.0, "vibration": 0.01}
_BETWEEN_FLOORS: Final[dict[str, Value]] = {**_STOPPED, "in_door_zone": False, "door": "closed"}
_SOMEBODY_INSIDE: Final[dict[str, Value]] = {"occupied": True, "load": 136.0}
_FIRE: Final = Signal.FIRE


def _for(fault: Fault, *kinds: Kind) -> dict[Kind, Fault]:
    return dict.fromkeys(kinds, fault)


_EVERY: Final = tuple(WIRE_KINDS)

FAULTS: Final[dict[str, dict[Kind, Fault]]] = {
    # -- lifts -----------------------------------------------------------------------------------------
    "trapped": _for(
        Fault(
            about="stopped between floors with people inside, who press the alarm button",
            sets={**_BETWEEN_FLOORS, **_SOMEBODY_INSIDE, "alarm_button": True},
            holds=True,
        ),
        Kind.ELEVATOR,
    ),
    "stuck": _for(
        Fault(
            about="stopped between floors with people inside; the controller reports code 4",
            sets={**_BETWEEN_FLOORS, **_SOMEBODY_INSIDE, "fault_code": 4.0},
            holds=True,
        ),
        Kind.ELEVATOR,
    ),
    "stuck_unreported": _for(
        Fault(
            about="stopped between floors with people inside; no code, nobody finds the button",
            sets={**_BETWEEN_FLOORS, **_SOMEBODY_INSIDE},
            holds=True,
        ),
        Kind.ELEVATOR,
    ),
    "door_fault": _for(
        Fault(
            about="the doors do not close: code 2, out of service at the landing, empty",
            sets={**_STOPPED, "service_mode": "stopped", "in_door_zone": True, "door": "open", "occupied": False,
                  "load": 0.0, "fault_code": 2.0},
            holds=True,
        ),
        Kind.ELEVATOR,
    ),
    "levelling_drift": _for(
        Fault(
            about="stops more and more above its landing: 34 mm after six hours",
            upsets={Upset.LEVELLING: Course(((6 * 3600.0, 34.0),))},
        ),
        Kind.ELEVATOR,
    ),
    "intercom_broken": _for(
        Fault(about="the alarm line is dead; the next test finds it", upsets={Upset.INTERCOM_BROKEN: at_once(1.0)}),
        Kind.ELEVATOR,
    ),
    "fire_recall": _for(
        Fault(
            about="called down by the fire panel: waits at its landing with open doors",
            sets={**_STOPPED, "service_mode": "fire_recall", "in_door_zone": True, "door": "open", "occupied": False,
                  "load": 0.0},
            holds=True,
        ),
        Kind.ELEVATOR,
    ),
    # -- pumps -----------------------------------------------------------------------------------------
    # alarm 82 °C, trip 93 °C (domain numbers of pump makers): both are passed within half a minute
    "bearing_hot": _for(
        Fault(
            about="a bearing that seizes within half a minute",
            courses={
                "bearing_temperature": Course(((6.0, 84.5), (20.0, 90.0), (28.0, 96.0), (180.0, 102.0)), fade_s=40.0),
                "vibration": Course(((28.0, 3.2), (180.0, 3.9)), fade_s=10.0),  # below the 4.5 mm/s of an alarm
            },
        ),
        Kind.PUMP,
    ),
    "bearing_wear": _for(
        Fault(about="a bearing that wears out within six days", upsets={Upset.WEAR: Course(((6 * DAY_S, 1.0),))}),
        Kind.PUMP,
    ),
    "drive_trip": _for(
        Fault(about="the drive stops with code 7; the standby pump takes over", upsets={Upset.TRIPPED: at_once(7.0)}),
        Kind.PUMP,
    ),
    "dry_run": _for(
        Fault(about="the suction valve is shut; the drive stops the pump", upsets={Upset.SUCTION_SHUT: at_once(1.0)}),
        Kind.PUMP,
    ),
    "pressure_loss": _for(
        Fault(
            about="a burst pipe takes the water of four pumps",
            upsets={Upset.BURST: Course(((10.0, 4.0),), fade_s=20.0)},
        ),
        Kind.PUMP,
    ),
    "flooding": _for(
        Fault(
            about="more water runs into the sump than its pump can lift",
            upsets={Upset.FLOOD: Course(((30.0, 80.0),))},
        ),
        Kind.PUMP,
    ),
    "left_in_manual": _for(Fault(about="not switched back to AUTO", sets={"mode": "manual"}), Kind.PUMP),
    "fire_pump_called": _for(
        Fault(about="a fire pump started by the panel", upsets={Upset.CALLED: at_once(1.0)}), Kind.PUMP
    ),
    # -- water, smoke, heat ----------------------------------------------------------------------------
    "water_leak": _for(Fault(about="water on the floor", sets={"leak": True}), Kind.SENSOR, Kind.PUMP),
    "smoke": _for(
        Fault(
            about="smoke and some warmth",
            sets={"smoke": True},
            courses={"temperature": Course(((60.0, 34.0),), fade_s=60.0)},
        ),
        Kind.SENSOR,
    ),
    "room_burns": _for(
        Fault(
            about="a room that burns: smoke, 60 °C after two minutes, 400 °C after five",
            sets={"smoke": True},
            courses={"temperature": Course(((30.0, 30.0), (120.0, 60.0), (300.0, 400.0)), fade_s=600.0)},
        ),
        Kind.SENSOR,
    ),
    # -- fire panels -----------------------------------------------------------------------------------
    "smoke_alarm": _for(
        Fault(
            about="two smoke detectors of one floor",
            points=(PointSignal(0.0, _FIRE), PointSignal(12.0, _FIRE, nth=1)),
        ),
        Kind.FIRE_PANEL,
    ),
    "cooking_smoke": _for(
        Fault(about="one smoke detector, for as long as the pan smokes", points=(PointSignal(0.0, _FIRE),)),
        Kind.FIRE_PANEL,
    ),
    "fire_spreads": _for(
        Fault(
            about="smoke, heat and a call point of one floor, then the floors above; the panel starts fans and pump",
            points=(
                PointSignal(0.0, _FIRE),
                PointSignal(25.0, _FIRE, nth=1),
                PointSignal(60.0, _FIRE, device="call_point"),
                PointSignal(75.0, _FIRE, device="heat"),
                PointSignal(110.0, _FIRE, device="flow_switch"),
                PointSignal(150.0, _FIRE, floors_up=1),
                PointSignal(190.0, _FIRE, floors_up=1, nth=1),
                PointSignal(260.0, _FIRE, floors_up=2),
            ),
            happenings=(
                Happening(30.0, _event(type="started", device_type="other", text="声光警报启动 sounders started")),
                Happening(95.0, _event(type="started", device_type="other", text="消火栓泵启动 fire pump started")),
                Happening(97.0, _event(type="feedback", device_type="other", text="消火栓泵反馈 fire pump runs")),
            ),
        ),
        Kind.FIRE_PANEL,
    ),
    "point_fault": _for(
        Fault(about="a detector that has lost its line", points=(PointSignal(0.0, Signal.FAULT, nth=2),)),
        Kind.FIRE_PANEL,
    ),
    "point_disabled": _for(
        Fault(about="a detector switched off at the panel", points=(PointSignal(0.0, Signal.DISABLED),)),
        Kind.FIRE_PANEL,
    ),
    "panel_mains_lost": _for(Fault(about="the panel runs on its battery", sets={"mains": False}), Kind.FIRE_PANEL),
    # -- power -----------------------------------------------------------------------------------------
    "power_cut": {
        Kind.ELEVATOR: Fault(about="stops where it is", upsets={Upset.NO_MAINS: at_once(1.0)}),
        Kind.PUMP: Fault(about="stops", upsets={Upset.NO_MAINS: at_once(1.0)}),
        Kind.FIRE_PANEL: Fault(about="runs on its battery", sets={"mains": False}),
        Kind.SENSOR: Fault(about="reports that the mains are gone", sets={"mains": False}),
    },
    "on_backup": _for(
        Fault(
            about="no mains, but emergency lowering: ends its run and opens its doors",
            upsets={Upset.ON_BACKUP: at_once(1.0)},
        ),
        Kind.ELEVATOR,
    ),
    # -- the line to the broker ------------------------------------------------------------------------
    "device_offline": _for(
        Fault(about="the device is gone; the broker publishes its last will", link=Link.BROKEN), *_EVERY
    ),
    "device_hangs": _for(
        Fault(about="the device sends nothing any more, but its connection is up", link=Link.HUNG), *_EVERY
    ),
    "link_lost": _for(
        Fault(about="the site's line is down; samples of that time arrive when it is back", link=Link.BUFFERED), *_EVERY
    ),
    "babbling": {
        Kind.SENSOR: Fault(
            about="twenty times as many reports, with the leak there and gone",
            hurry=20.0,
            babble=tuple(Sample(Channel.TELEMETRY, {"leak": wet}) for wet in (True, False)),
        ),
        Kind.FIRE_PANEL: Fault(
            about="twenty times as many reports, with a point's fault there and gone",
            hurry=20.0,
            babble=tuple(
                _event(type="fault", active=active, device_type="smoke", loop="1", address="9", text="1-9")
                for active in (True, False)
            ),
        ),
    },
}  # fmt: skip
"""Name in scenario files -> kind of equipment -> its effect."""
