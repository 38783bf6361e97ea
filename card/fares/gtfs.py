"""Which files and columns of a feed are understood, and what each must look like.

The GTFS files follow the GTFS Schedule reference with all adopted Fares v2 files. Those after ``OURS`` say what the
specification lacks. One word a column: ``name``, ``!`` required, ``*`` part of the key, ``:kind``, ``>file.column`` it
refers to (``|`` between choices). Columns and files that are not listed are kept and given back as they came.
"""

from dataclasses import dataclass
from typing import Final

_FILES: Final = {
    "agency.txt": "*agency_id agency_name! agency_url! agency_timezone!",
    "stops.txt": "*stop_id! stop_name stop_lat:latitude stop_lon:longitude location_type:0|1|2|3|4 "
    "parent_station>stops.stop_id",
    "routes.txt": "*route_id! agency_id>agency.agency_id route_short_name route_long_name route_type!:integer "
    "route_color:color route_text_color:color network_id",
    "calendar.txt": "*service_id! monday!:0|1 tuesday!:0|1 wednesday!:0|1 thursday!:0|1 friday!:0|1 saturday!:0|1 sunday!:0|1 "
    "start_date!:date end_date!:date",
    "calendar_dates.txt": "*service_id! *date!:date exception_type!:1|2",
    "trips.txt": "*trip_id! route_id!>routes.route_id service_id!>calendar.service_id|calendar_dates.service_id "
    "direction_id:0|1 shape_id>shapes.shape_id",
    "shapes.txt": "*shape_id! *shape_pt_sequence!:integer shape_pt_lat!:latitude shape_pt_lon!:longitude "
    "shape_dist_traveled:decimal",
    "stop_times.txt": "*trip_id!>trips.trip_id *stop_sequence!:integer stop_id>stops.stop_id arrival_time:time "
    "departure_time:time shape_dist_traveled:decimal",
    "transfers.txt": "from_stop_id>stops.stop_id to_stop_id>stops.stop_id transfer_type:0|1|2|3|4|5 min_transfer_time:integer",
    "feed_info.txt": "feed_publisher_name! feed_publisher_url! feed_lang! feed_start_date:date feed_end_date:date",
    "translations.txt": "table_name! field_name! language! translation!",
    "areas.txt": "*area_id! area_name",
    "stop_areas.txt": "*area_id!>areas.area_id *stop_id!>stops.stop_id",
    "networks.txt": "*network_id! network_name",
    "route_networks.txt": "network_id!>networks.network_id *route_id!>routes.route_id",
    "timeframes.txt": "*timeframe_group_id! *start_time:clock *end_time:clock "
    "*service_id!>calendar.service_id|calendar_dates.service_id",
    "rider_categories.txt": "*rider_category_id! rider_category_name! is_default_fare_category:0|1 eligibility_url",
    "fare_media.txt": "*fare_media_id! fare_media_name fare_media_type!:0|1|2|3|4",
    "fare_products.txt": "*fare_product_id! *rider_category_id>rider_categories.rider_category_id "
    "*fare_media_id>fare_media.fare_media_id fare_product_name amount!:amount currency!:currency",
    "fare_leg_rules.txt": "leg_group_id *network_id>networks.network_id|routes.network_id *from_area_id>areas.area_id "
    "*to_area_id>areas.area_id *from_timeframe_group_id>timeframes.timeframe_group_id "
    "*to_timeframe_group_id>timeframes.timeframe_group_id *fare_product_id!>fare_products.fare_product_id "
    "rule_priority:integer",
    "fare_leg_join_rules.txt": "*from_network_id!>networks.network_id|routes.network_id "
    "*to_network_id!>networks.network_id|routes.network_id *from_stop_id>stops.stop_id *to_stop_id>stops.stop_id",
    "fare_transfer_rules.txt": "*from_leg_group_id>fare_leg_rules.leg_group_id *to_leg_group_id>fare_leg_rules.leg_group_id "
    "*transfer_count:count *duration_limit:positive duration_limit_type:0|1|2|3 fare_transfer_type!:0|1|2 "
    "*fare_product_id>fare_products.fare_product_id",
}

OURS: Final = {
    "tariffs.txt": "*tariff_id! agency_id!>agency.agency_id effective_from!:date effective_until:date name_zh! name_en! "
    "distance_unit:km|m max_fare!:price pairing_minutes!:integer overtime_after_minutes:integer overtime_surcharge:price "
    "join_minutes:integer secondary_source:0|1 source",
    "distance_bands.txt": "*tariff_id!>tariffs.tariff_id *up_to_km:decimal step_km:decimal step_amount!:price",
    "od_distances.txt": "*tariff_id!>tariffs.tariff_id *from_stop_id!>stops.stop_id *to_stop_id!>stops.stop_id km!:decimal",
    "od_fares.txt": "*tariff_id!>tariffs.tariff_id *from_stop_id!>stops.stop_id *to_stop_id!>stops.stop_id amount!:price",
    "concessions.txt": "*tariff_id!>tariffs.tariff_id *entitlement! payable_percent!:percent same_city!:0|1 "
    "covers_incomplete!:0|1 name_zh! name_en!",
    "cap_rules.txt": "*tariff_id!>tariffs.tariff_id *cap_id! window!:rolling|day|week|month window_minutes:integer "
    "amount!:price agency_ids local_only!:0|1 name_zh! name_en!",
    "pass_rules.txt": "*tariff_id!>tariffs.tariff_id *pass_id! amount!:price rides!:positive local_only!:0|1 name_zh! name_en!",
    "same_station_rules.txt": "*tariff_id!>tariffs.tariff_id *up_to_minutes:integer amount:price",
    "interchange_rules.txt": "*tariff_id!>tariffs.tariff_id *from_stop_id!>stops.stop_id *to_stop_id!>stops.stop_id "
    "minutes!:integer",
    "apportionment_rules.txt": "*tariff_id!>tariffs.tariff_id *agency_id!>agency.agency_id percent!:percent",
}

REQUIRED: Final = ("agency.txt", "stops.txt", "routes.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """What one column must look like."""

    name: str
    required: bool
    key: bool
    kind: str
    refers_to: tuple[tuple[str, str], ...]


def _column(word: str) -> Column:
    head, _, target = word.partition(">")
    name, _, kind = head.partition(":")
    bare = name.strip("*!")
    choices = tuple((f"{choice.split('.')[0]}.txt", choice.split(".")[1]) for choice in target.split("|") if choice)
    return Column(name=bare, required="!" in name, key=name.startswith("*"), kind=kind or "text", refers_to=choices)


COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    file: tuple(_column(word) for word in words.split()) for file, words in {**_FILES, **OURS}.items()
}
