/** Texts about what waits for a second person. */

const zhCN = {
  approvals: {
    title: '等待第二人核对（{n}）',
    asked: '{who} 申请，{age}前',
    mine: '我的申请，{age}前',
    approve: '同意',
    refuse: '拒绝',
    withdraw: '撤回',
    nothing: '空',
    done: '已同意并执行：{title}',
    refused: '已拒绝：{title}',
    withdrawn: '已撤回：{title}',
    failedTitle: '已同意，但没有执行：{title}',
    notDecided: '没有处理：{title}',
    field: {
      until: '至',
      one_shot: '恢复后即结束',
      rule: '规则',
      planned_end: '计划结束',
      starts_at: '开始',
      ends_at: '结束',
      life_safety: '含人身安全报警',
      name: '名称',
      place: '位置',
      time_zone: '时区',
      adopted: '已登记',
      changes: '改动',
      reason: '原因',
    },
    outcome: {
      requester_gone: '申请人的账号已不存在或已停用。',
      requester_not_permitted: '申请人已没有这项权限。',
      approver_not_permitted: '你已没有这项权限。',
    },
    act: {
      alarm: { shelve: '搁置报警' },
      equipment: { adopt: '登记设备', out_of_service: '停用设备' },
      rule: { changed: '修改规则' },
      site: { add: '新增项目', edit: '修改项目' },
    },
  },
}

export default zhCN
