"""Rules in the form of Prometheus' rule files, and the pack of rules for any model."""

from modelkeep.alerts.rules.file import default_rules as default_rules
from modelkeep.alerts.rules.file import load_rules as load_rules
from modelkeep.alerts.rules.file import parse_rules as parse_rules
from modelkeep.alerts.rules.rule import Rule as Rule
from modelkeep.alerts.rules.rule import RuleGroup as RuleGroup
