"""Names of the kinds of equipment and of their fields, in the order of a tile."""

from typing import Final

import msgspec

from collectors.wire.fields import Kind

Label = dict[str, str]


class Profile(msgspec.Struct, frozen=True):
    """`name` of the kind and `fields`: field -> label, each in both languages."""

    name: Label
    fields: dict[str, Label]


def _label(english: str, chinese: str) -> Label:
    return {"en": english, "zh-CN": chinese}


PROFILES: Final[dict[Kind, Profile]] = {
    Kind.ELEVATOR: Profile(
        _label("Lift", "电梯"),
        {
            "floor": _label("Floor", "楼层"),
            "direction": _label("Direction", "运行方向"),
            "door": _label("Door", "轿门"),
            "occupied": _label("Occupied", "轿厢有人"),
            "service_mode": _label("Service mode", "服务模式"),
            "alarm_button": _label("Alarm button", "报警按钮"),
            "fault_code": _label("Fault code", "故障代码"),
            "speed": _label("Speed", "速度"),
            "moving": _label("Moving", "运行中"),
            "in_door_zone": _label("In door zone", "在门区"),
            "levelling_error": _label("Levelling error", "平层误差"),
            "load": _label("Load", "载重"),
            "vibration": _label("Vibration", "振动"),
            "motor_temperature": _label("Motor temperature", "曳引机温度"),
            "machine_room_temperature": _label("Machine room temperature", "机房温度"),
            "intercom_ok": _label("Intercom works", "对讲正常"),
            "power": _label("Power", "供电"),
            "trips": _label("Trips", "运行次数"),
            "run_hours": _label("Run hours", "运行时间"),
        },
    ),
    Kind.PUMP: Profile(
        _label("Pump", "水泵"),
        {
            "running": _label("Running", "运行"),
            "discharge_pressure": _label("Discharge pressure", "出口压力"),
            "flow": _label("Flow", "流量"),
            "bearing_temperature": _label("Bearing temperature", "轴承温度"),
            "mode": _label("Mode", "控制方式"),
            "vibration": _label("Vibration", "振动"),
            "motor_temperature": _label("Motor temperature", "电机温度"),
            "frequency": _label("Frequency", "频率"),
            "current_a": _label("Current, phase A", "A相电流"),
            "current_b": _label("Current, phase B", "B相电流"),
            "current_c": _label("Current, phase C", "C相电流"),
            "voltage": _label("Voltage", "电压"),
            "suction_pressure": _label("Suction pressure", "进口压力"),
            "setpoint": _label("Set pressure", "设定压力"),
            "tank_level": _label("Tank level", "水箱液位"),
            "sump_level": _label("Sump level", "集水井液位"),
            "starts": _label("Starts", "启动次数"),
            "run_hours": _label("Run hours", "运行时间"),
            "drive_fault": _label("Drive fault", "变频器故障"),
            "leak": _label("Leak", "漏水"),
        },
    ),
    Kind.FIRE_PANEL: Profile(
        _label("Fire alarm panel", "火灾报警主机"),
        {
            "mode": _label("Mode", "控制方式"),
            "mains": _label("Mains", "主电"),
            "battery": _label("Battery", "备电"),
        },
    ),
    Kind.PATROL_READER: Profile(_label("Patrol reader", "巡更读卡器"), {"online": _label("Online", "在线")}),
    Kind.SENSOR: Profile(
        _label("Sensor", "传感器"),
        {
            "smoke": _label("Smoke", "烟雾"),
            "leak": _label("Leak", "漏水"),
            "gas": _label("Gas", "燃气"),
            "carbon_monoxide": _label("Carbon monoxide", "一氧化碳"),
            "heat": _label("Heat detector", "感温报警"),
            "panic": _label("Call for help", "求助"),
            "level_alarm": _label("Level alarm", "液位报警"),
            "mains": _label("Mains", "市电"),
            "temperature": _label("Temperature", "温度"),
            "humidity": _label("Humidity", "湿度"),
            "level": _label("Level", "液位"),
            "pressure": _label("Pressure", "压力"),
            "battery": _label("Battery", "电量"),
        },
    ),
    Kind.SYSTEM: Profile(
        _label("Platform", "平台"),
        {
            "history_reachable": _label("History takes readings", "历史库可写"),
            "spool_used": _label("Waiting on disk", "磁盘缓存占用"),
            "disk_free": _label("Free disk", "磁盘剩余"),
            "history_stopped": _label("Disk almost full, history stopped", "磁盘将满，历史已停写"),
            "alarm_reserve_in_use": _label("Disk full, alarm reserve in use", "磁盘已满，正用报警预留"),
            "losing_readings": _label("Losing history", "历史数据丢失"),
            "work_set_aside": _label("Alarms to handle by hand", "需人工处理的报警"),
            "damaged_file_kept": _label("Damaged file kept", "存有损坏文件"),
            "part_failing": _label("Component being restarted", "服务组件正在重启"),
            "backup_ok": _label("Backup in order", "备份正常"),
            "checkpoint_ok": _label("Audit kept elsewhere", "审计检查点正常"),
            "audit_ok": _label("Audit as it was sealed", "审计记录完整"),
            "backup_age_h": _label("Age of the last backup", "距上次备份"),
            "broker_reachable": _label("Connected to the broker", "消息代理已连接"),
            "site_silent": _label("Site is silent", "站点无消息"),
            "out_of_service_overdue": _label("Out of service too long", "停用检修超期"),
            "oldest_wait": _label("Oldest message waits", "最早消息已等待"),
            "messages_waiting": _label("Messages waiting", "待处理消息"),
            "history_behind": _label("History is catching up", "历史数据补写中"),
            "decisions_waited": _label("Waits for the database", "等待数据库次数"),
            "clock_synchronised": _label("Clock synchronised", "时钟已同步"),
            "clock_jumped": _label("Clock has jumped", "时钟跳变"),
            "devices_clock_apart": _label("Apart from devices' clocks", "与设备时钟相差"),
            "database_clock_apart": _label("Apart from the database's clock", "与数据库时钟相差"),
            "certificate_days": _label("Certificate good for", "证书剩余"),
            "pages_dropped": _label("Pages too slow", "页面推送过慢次数"),
        },
    ),
}
"""Every telemetry field of the wire contract has its label here (checked by a test)."""
