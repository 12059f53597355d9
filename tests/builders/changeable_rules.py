"""A rule of each type as files have them, for tests that change them."""

from gateway.alarms.rules.files import parse_rules

_TEXTS = "source: a test, title: {en: A, zh-CN: 甲}, advice: {en: B, zh-CN: 乙}"
TEXT = f"""
rules:
  - {{id: pump.hot, kind: pump, type: limit, field: bearing_temperature, above: 80, deadband: 5, priority: high,
     ticket: repair, {_TEXTS}}}
  - {{id: pump.slow, kind: pump, type: limit, field: bearing_temperature, above: 70, on_delay: 10s, off_delay: 20s,
     priority: medium, {_TEXTS}}}
  - {{id: pump.low, kind: pump, type: limit, field: discharge_pressure, below: 0.2, deadband: 0.05,
     while: {{running: true}}, priority: high, {_TEXTS}}}
  - {{id: pump.fault, kind: pump, type: state, field: mode, in: ["off"], priority: medium, {_TEXTS}}}
  - {{id: pump.dry, kind: pump, type: combination, on_delay: 5s, priority: high, {_TEXTS},
     when: {{all: [{{field: running, in: [true]}}, {{field: flow, below: 1}}]}}}}
  - {{id: pump.rising, kind: pump, type: rate, field: bearing_temperature, above: 2, window: 5min,
     priority: low, {_TEXTS}}}
  - {{id: pump.starts, kind: pump, type: count, field: running, becomes: [true], above: 2, window: 10min, priority: low,
     {_TEXTS}}}
  - {{id: pump.silent, kind: pump, type: no_data, after: 1min, priority: low, {_TEXTS}}}
  - {{id: pump.weekly, kind: pump, type: absence, field: running, in: [true], after: 8d, priority: low, {_TEXTS}}}
  - {{id: sensor.smoke, kind: sensor, type: state, field: smoke, in: [true], priority: critical,
     ticket: emergency, {_TEXTS}}}
  - {{id: lift.button, kind: elevator, type: state, field: alarm_button, in: [true], priority: critical, {_TEXTS}}}
  - {{id: lift.trapped, kind: elevator, type: combination, on_delay: 1min, priority: critical, {_TEXTS},
     when: {{all: [{{field: occupied, in: [true]}}, {{field: moving, in: [false]}}]}}}}
  - {{id: fire.point, kind: fire_panel, type: event, match: {{type: fire}}, per: [loop, address], priority: critical,
     ticket: emergency, {_TEXTS}}}
  - {{id: panel.prompt, kind: fire_panel, type: event, match: {{type: check_post}}, momentary: true, priority: medium,
     {_TEXTS}}}
  - {{id: panel.missed, kind: fire_panel, type: response_timeout, of: panel.prompt, after: 5min, priority: medium,
     {_TEXTS}}}
"""
RULES = parse_rules(TEXT, "site.yaml")
