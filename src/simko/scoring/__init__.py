"""Stored responses through models: token by token records of what each model thinks of them, and their summary."""

from simko.scoring.diagnosis import diagnose, summarise_records
from simko.scoring.responses import Responses, StoredResponse, read_responses
from simko.scoring.teacher import TeacherForced

__all__ = ["Responses", "StoredResponse", "TeacherForced", "diagnose", "read_responses", "summarise_records"]
