"""What works here, and where not: the cause and the cure. `diagnose` runs every check and changes nothing."""

from node.doctor.examination import diagnose
from node.doctor.finding import Diagnosis, Finding, State, sum_up
from node.doctor.subject import Subject

__all__ = ["Diagnosis", "Finding", "State", "Subject", "diagnose", "sum_up"]
