"""docs/SEMANTICS.md is executed: each of its promises names the tests that fail when it is broken.

A promise is quoted as it stands in the page, so that neither can change without the other; whatever the page
says that no promise quotes must be in EXPLAINS."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "SEMANTICS.md"

CONTENTS, NAMES, CRASH = "fs/test_contents.py::", "fs/test_names.py::", "fs/test_crash.py::"
ATTRIBUTES, POSIX_NAMES = "mount/test_posix_attributes.py::", "mount/test_posix_names.py::"
POSIX_CONTENTS, COHERENCE = "mount/test_posix_contents.py::", "mount/test_coherence.py::"
FAULTS, KILL, LIFE = "mount/test_faults.py::", "mount/test_kill.py::", "cli/test_life.py::"
LOSS, PREFIXES, ORDER = "log/test_loss_of_the_machine.py::", "log/test_prefixes.py::", "log/test_order.py::"
TAMPERING, LOST_ANSWERS = "log/test_tampering.py::", "log/test_lost_answers.py::"
RECOVERY, READER, TENURE = "mount/test_recovery.py::", "roles/test_reader.py::", "roles/test_tenure.py::"
TWO, TAKEOVER, FSCK = "mount/test_two_writers.py::", "mount/test_takeover.py::", "fsck/test_mounted.py::"
GC, CHECKING = "fs/test_gc.py::", "fs/test_checking.py::"
VIEWS = "mount/test_views.py::"
FACE, REMOTE_SYNC = "face/test_operations.py::", "fs/test_remotesync.py::"

PROMISES: dict[str, tuple[str, ...]] = {
    # --- When is a file safe? ---
    "the bytes are in staging, on this machine": (
        CRASH + "test_what_was_closed_is_there_and_what_was_open_is_as_last_committed",
    ),
    "it is committed to the index | a kill of the mount": (
        KILL + "test_kill_after_kill",
        "mount/test_kill_campaign.py::test_all_that_returned_outlives_kills",
        "crash/test_every_step.py::test_a_process_that_dies_at_any_step_loses_nothing",
    ),
    "staging and index are on this machine's disk | a power cut": (
        "crash/test_power_cut.py::test_after_a_power_cut_the_drive_is_as_it_was_at_one_moment",
        POSIX_CONTENTS + "test_writes_that_are_synced",
    ),
    "everything closed before it is on Discord, named by a record of the log that counts": (
        LOSS + "test_every_kind_of_thing_comes_back",
        LIFE + "test_fsync_can_mean_discord",
    ),
    "`barrier` also lists the messages, compares sizes, and reads the record back": (
        "roles/test_verification.py::test_a_message_that_is_gone_is_damage_and_its_files_are_named",
        "roles/test_verification.py::test_a_record_that_is_gone_is_damage",
    ),
    "a small file is there within 30 seconds": (
        ATTRIBUTES + "test_a_small_file_is_on_discord_within_half_a_minute_by_itself",
    ),
    "In an outage** a `barrier` waits": (LIFE + "test_a_timeout_is_75_and_stays_mounted",),
    "waits for 10 minutes, can be interrupted, and then is `EIO`": (
        REMOTE_SYNC + "test_an_fsync_in_an_outage_ends_and_its_data_goes_out_later",
        REMOTE_SYNC + "test_an_fsync_that_waits_can_be_interrupted",
    ),
    "what was synced is intact. The drive is as it was at one moment": (
        "crash/test_power_cut.py::test_after_a_power_cut_the_drive_is_as_it_was_at_one_moment",
        "crash/test_mounted.py::test_a_mount_after_a_power_cut",
    ),
    "The mount syncs by itself every 30 seconds": (
        "crash/test_going_to_disk.py::test_a_sync_comes_by_itself",
    ),
    "keeps the index from before beside the new one": (
        "crash/test_rewind.py::test_the_index_from_before_is_kept_until_the_drive_has_ended_well",
    ),
    "it fails until what it was to sync has been uploaded": (
        "unit/local/test_staging.py::test_what_failed_to_be_synced_once_is_never_called_synced",
    ),
    # --- Losing the machine ---
    "`discordfs recover` gives the drive back on an empty machine": (
        RECOVERY + "test_a_whole_tree_comes_back_from_the_code_alone",
        RECOVERY + "test_another_bot_needs_the_intent_and_is_told_so",
    ),
    "What a barrier had confirmed is all there": (
        LOSS + "test_every_kind_of_thing_comes_back",
        LOSS + "test_names_that_are_no_text_come_back",
        LOSS + "test_hard_links_are_still_one_file",
        LOSS + "test_extended_attributes_come_back_and_removed_ones_do_not",
        LOSS + "test_times_come_back_to_the_nanosecond",
        LOSS + "test_holes_are_still_holes",
        LOSS + "test_a_file_of_several_chunks_comes_back",
        "log/test_model.py::TestRecoveredAgainstModel",
        "golden/test_volume_1.py::test_the_volume_is_still_read",
    ),
    "The drive is as it was at one moment**, that of the newest record": (
        PREFIXES + "test_every_prefix_of_the_log_is_a_drive_that_there_was",
        PREFIXES + "test_also_when_records_are_made_while_the_user_works",
    ),
    "no rename without the bytes of what it renamed": (
        ORDER + "test_a_large_file_renamed_and_a_small_one_after_it",
        ORDER + "test_what_comes_later_waits_for_a_chunk_that_is_slow",
    ),
    "Messages that somebody deleted from the log** are told": (
        PREFIXES + "test_a_message_that_somebody_deleted_costs_no_more_than_it_must",
        PREFIXES + "test_a_record_counts_only_with_all_its_parts",
        RECOVERY + "test_gaps_of_the_log_are_told",
    ),
    "A writer that finds the newest records gone, or hears of a deletion, tells everything again": (
        TAMPERING + "test_a_writer_whose_newest_records_are_gone_says_everything_again",
        FSCK + "test_a_deleted_log_message_makes_the_writer_say_all_again",
    ),
    "give no wrong byte and no wrong name": (
        TAMPERING + "test_a_flipped_bit_in_a_record_costs_that_record_and_is_said",
        TAMPERING + "test_a_flipped_bit_in_a_files_bytes_is_an_error_for_that_file_alone",
        TAMPERING + "test_attachments_of_two_messages_swapped",
        TAMPERING + "test_bytes_of_two_chunks_swapped_are_an_error",
        TAMPERING + "test_an_old_record_posted_again_changes_nothing",
        TAMPERING + "test_a_volume_with_our_name_and_another_key_is_not_believed",
        TAMPERING + "test_two_volumes_share_channels_and_nothing_else",
    ),
    "Forged records may hold up a writer": (
        TAMPERING + "test_nonsense_under_the_names_of_records_is_passed_over",
    ),
    "`discordfs fsck --repair` brings contents back from the chunks themselves": (
        FSCK + "test_contents_come_back_when_index_and_log_are_gone",
        "fsck/test_offline.py::test_without_index_and_log_contents_come_back_from_the_chunks",
    ),
    "Without the key file and the recovery code nothing comes back": (
        TAMPERING + "test_a_key_of_another_volume_is_refused",
        RECOVERY + "test_a_wrong_code_is_said_before_anything_is_touched",
    ),
    # --- Contents ---
    "A reader sees a writer's bytes at once": (
        COHERENCE + "test_a_reader_sees_the_writers_bytes_at_once",
        CONTENTS + "test_reads_go_on_while_bytes_move_from_staging_to_discord",
    ),
    "No chunk ever holds a mixture of two versions": (
        COHERENCE + "test_no_chunk_holds_a_mixture_of_two_versions",
        COHERENCE + "test_a_file_rewritten_while_its_old_version_uploads_ends_as_the_new_one",
    ),
    "is the old one or the new one after a kill": (
        KILL + "test_an_emptied_file_is_the_old_one_until_it_is_closed",
        CRASH + "test_a_file_being_rewritten_is_the_old_one_until_it_is_closed",
        COHERENCE + "test_a_file_four_times_the_size_of_staging_goes_through",
    ),
    "is an I/O error (`EIO`) for just its ranges, never zeros and never wrong bytes": (
        FAULTS + "test_bytes_that_come_damaged_every_time_are_an_error_and_nothing_else",
        FAULTS + "test_a_message_deleted_by_a_stranger_damages_only_its_file",
        TAMPERING + "test_only_the_ranges_of_a_damaged_block_cannot_be_read",
    ),
    "Holes are holes": (POSIX_CONTENTS + "test_holes_take_no_room_and_read_as_zeros",),
    "offsets go to 2^63 - 1": (NAMES + "test_offsets_beyond_the_largest_are_refused",),
    # --- Names and attributes ---
    "Names are up to 255 bytes": (
        POSIX_NAMES + "test_any_bytes_are_a_name",
        NAMES + "test_names_differ_by_case_and_by_normal_form",
    ),
    "Times are kept to the nanosecond, from 1677 to 2262": (
        ATTRIBUTES + "test_times_are_kept_to_the_nanosecond",
        ATTRIBUTES + "test_times_beyond_what_is_kept_become_the_nearest_that_is",
        ATTRIBUTES + "test_writing_changes_mtime_and_ctime_and_reading_nothing",
    ),
    "Inode numbers are stable across mounts and never used again": (
        POSIX_NAMES + "test_inode_numbers_outlive_a_mount_and_are_not_used_again",
        LOSS + "test_numbers_are_not_used_again_after_a_recovery",
    ),
    "Hard links, symbolic links, fifos, sockets and device nodes are kept": (
        POSIX_NAMES + "test_fifos_sockets_and_devices",
        ATTRIBUTES + "test_extended_attributes",
    ),
    "A new entry belongs to the caller": (
        CONTENTS + "test_a_new_entry_belongs_to_its_caller_and_a_setgid_directory_gives_its_group",
        ATTRIBUTES + "test_the_view_of_owners_and_modes_can_be_changed",
    ),
    "Permissions are checked by the kernel": (
        "mount/test_unprivileged.py::test_another_users_files_are_refused",
    ),
    "`rename` over an existing file replaces it in one step": (
        NAMES + "test_rename_over_a_file_replaces_it_at_once",
        FACE + "test_a_replaced_target_is_never_missing",
    ),
    "A file that was unlinked while open stays readable and writable": (
        POSIX_CONTENTS + "test_a_file_unlinked_while_open_lives_until_its_last_close",
        FACE + "test_an_unlinked_open_file_goes_on",
    ),
    "A `rename` over a file that somebody has open is one step": (
        POSIX_CONTENTS + "test_a_reader_of_a_name_that_is_replaced_over_and_over_sees_one_version",
        FACE + "test_a_file_replaced_while_it_is_open_goes_on",
    ),
    # --- Hard links and the kernel's caches ---
    "whoever opens after the other has closed sees everything": (
        POSIX_CONTENTS + "test_hard_links_are_one_file",
    ),
    # --- Space ---
    "`df` shows the live bytes as used": (ATTRIBUTES + "test_df_shows_what_is_alive",),
    "after 10 minutes without any progress they get `ENOSPC`": (
        CONTENTS + "test_a_full_staging_is_no_space_once_nothing_moves",
        "unit/local/test_staging.py::test_a_writer_at_the_quota_waits_until_something_is_freed",
    ),
    "What is removed or overwritten leaves Discord an hour later": (
        GC + "test_a_removed_files_message_goes_after_the_grace_time_and_not_before",
        GC + "test_each_message_has_a_grace_time_of_its_own",
    ),
    "at most four times what is there, and 64 MiB": (
        "fs/test_churn.py::test_nothing_is_lost_and_discord_stores_in_proportion",
        GC + "test_what_is_left_of_a_chunk_moves_and_the_rest_is_freed",
    ),
    "in doubt a message stays": (
        GC + "test_a_chunk_whose_post_is_still_in_doubt_is_nobodys_garbage",
        GC + "test_what_cannot_be_read_stays_and_is_told",
        GC + "test_what_the_chain_may_need_stays_in_the_log",
    ),
    "What another writer left is left to `gc --all`": (
        GC + "test_what_a_former_writer_left_stays_unless_somebody_asks_for_it",
    ),
    "sends anew what its cache still has of those that were lost or altered": (
        CHECKING + "test_damage_is_mended_from_the_cache",
        CHECKING + "test_a_message_that_somebody_deleted_is_sent_anew_from_the_cache",
    ),
    "`status` names the files that lost": (
        CHECKING + "test_what_no_cache_has_is_told_by_file_and_the_rest_can_be_read",
    ),
    "On a full local disk writing is `ENOSPC`": (
        CRASH + "test_on_a_full_disk_writing_fails_removing_works_and_nothing_is_damaged",
        CRASH + "test_a_drive_ends_and_begins_on_a_full_disk",
    ),
    # --- Without the network ---
    "An uncached read waits up to 60 s": (
        FAULTS + "test_an_outage_leaves_the_drive_usable_and_drains_by_itself",
        CONTENTS + "test_an_outage_keeps_reads_and_writes_going_and_drains_afterwards",
    ),
    "what had arrived without an answer is found and not referred to twice": (
        LOST_ANSWERS + "test_one_copy_counts_and_all_is_there",
        LOST_ANSWERS + "test_listings_in_any_order_and_answers_lost_all_the_time",
        FAULTS + "test_a_post_that_fails_ends_as_one_message",
    ),
    "nothing is asked of Discord until there is a new one": (
        "mount/test_token.py::test_the_queue_stops_and_drains_with_a_new_token",
    ),
    # --- Ending a mount ---
    "`discordfs umount` drains the queue first": (
        LIFE + "test_umount_drains",
        LIFE + "test_a_timeout_is_75_and_stays_mounted",
        LIFE + "test_a_busy_drive_stays_mounted_and_names_who_uses_it",
    ),
    "leave the queue for the next mount": (
        LIFE + "test_umount_without_draining_leaves_the_queue_for_the_next_mount",
        LIFE + "test_a_kill_loses_nothing_that_was_closed",
        LIFE + "test_a_signal_ends_a_foreground_mount_and_keeps_the_queue",
    ),
    "the next machine need not be told to take over": (
        TAKEOVER + "test_whoever_unmounted_is_followed_without_being_told_to",
    ),
    # --- Two machines ---
    "One state directory writes a volume at a time": (
        "unit/log/test_interleavings.py::test_whatever_happens_nothing_that_was_called_safe_is_lost",
    ),
    "A second writer is refused": (TENURE + "test_a_second_writer_is_refused_and_told_who_writes",),
    "nothing that a `barrier` there waited for is lost": (
        TENURE + "test_a_writer_that_writes_on_during_the_wait_keeps_what_it_saw_verified",
        PREFIXES + "test_also_across_a_take_over",
        TWO + "test_a_take_over_while_the_first_writes",
    ),
    "The loser turns read-only": (
        TWO + "test_what_comes_after_the_take_over_does_not_count",
        TAKEOVER + "test_the_loser_says_what_only_it_has_and_umount_says_so_too",
        TAKEOVER + "test_an_interruption_at_any_moment_loses_nothing",
    ),
    "A read-only mount elsewhere follows the log": (
        READER + "test_no_pair_is_ever_seen_the_wrong_way_round",
        READER + "test_a_file_that_the_writer_removes_is_read_on_by_whoever_has_it_open",
        "log/test_following.py::test_a_follower_has_each_state_that_was_recorded",
        "mount/test_reader.py::test_open_files_and_names_see_what_the_writer_does",
        "mount/test_reader.py::test_no_newer_file_without_the_older_one_and_no_error",
    ),
    "It never goes back": (TAMPERING + "test_a_follower_does_not_go_back",),
    "Without Discord a read-only mount shows what it had": (
        "mount/test_reader.py::test_without_discord_it_shows_what_it_had",
        TENURE + "test_without_discord_the_index_decides",
    ),
    # --- archive/ ---
    "An archive is on this machine only": (
        "archived/test_commands.py::TestImport",
        "archived/test_whole.py::test_every_message_that_a_capture_has_is_in_the_views_once",
    ),
    "`recover` brings them back and makes the views anew": (
        "mount/test_archive_kept.py::test_recover_brings_the_archive_back",
        "archived/test_on_drive.py::test_what_comes_back_is_what_went",
    ),
    # --- clips/ ---
    "`clips sync --keep` keeps it, with the videos": (
        "mount/test_clips_kept.py::test_a_kept_clip_outlives_its_message_and_the_machine",
        "clips/test_store.py::test_kept_videos_are_in_the_bucket_byte_for_byte",
    ),
    "read-only (`EROFS`), once there is something in it": (VIEWS + "test_nothing_is_written_there",),
    "new runs appear without a remount": (
        VIEWS + "test_a_new_run_appears_without_a_remount_and_reads_as_it_is",
    ),
    "A file or directory of yours by that name is never hidden": (
        VIEWS + "test_a_drive_entry_of_that_name_is_never_hidden",
    ),
    "With `views=none` there is none": (VIEWS + "test_a_pure_drive_has_none",),
    "Sizes are exact and reading is that of local files": (
        VIEWS + "test_sizes_and_times_are_exact",
        VIEWS + "test_a_large_file_is_read_whole_and_in_its_middle",
        "mount/test_archive_files.py::test_the_last_line_and_the_middle_are_had_without_the_rest",
    ),
    "harmless on any disk, distinct where two are alike": (
        "mount/test_archive_files.py::test_hostile_names_are_harmless_and_stay_distinct",
        "archived/test_views.py::test_a_renamed_channel_keeps_its_place",
    ),
    "The times of derived files are those of their newest message": (
        "mount/test_archive_files.py::test_all_that_is_derived_is_as_old_as_its_newest_message",
    ),
    "A run that is damaged, odd or may not be read takes nothing from the others": (
        "archived/test_odd_runs.py::test_an_odd_run_takes_nothing_from_the_others",
        "archived/test_odd_runs.py::test_a_run_that_may_not_be_read_takes_nothing_from_the_others",
    ),
    "no link in a run leads anywhere": ("archived/test_tree.py::test_no_path_leads_out",),
    "one that grew at its end is appended to": ("archived/test_views.py::test_only_what_changed_is_written",),
    "what was deleted on Discord stays, marked": (
        "archived/test_views.py::test_versions_and_tombstones_are_history",
    ),
    "only when a later page of the listing covers its id and lacks it": (
        "archived/test_merge.py::test_deletions_are_those_of_a_plain_model",
        "archived/test_runs.py::TestCoverage",
    ),
    "no page runs a script or asks anything of anybody": (
        "archived/test_pages.py::test_a_browser_runs_no_script_and_asks_nobody",
        "archived/test_pages.py::test_no_text_at_all_becomes_markup_of_its_own",
        "archived/test_pages.py::test_faces_emojis_and_stickers_are_shown_from_the_archive",
    ),
    "no text moves a terminal's cursor": (
        "archived/test_pages.py::test_nothing_that_a_terminal_acts_on_is_left",
    ),
    # --- the rest ---
    "says `staged` or `remote`": (ATTRIBUTES + "test_where_a_file_is_can_be_asked_and_not_be_set",),
    "locks are local to this mount": (POSIX_CONTENTS + "test_locks_are_between_the_processes_here",),
}

EXPLAINS = ("This page is for people", "Two names of one file are two inodes")
"""Units of the page that promise nothing by themselves, by how they begin."""


def units() -> list[tuple[str, str]]:
    """The page's paragraphs, points and rows, each with the section it is in, on one line."""
    found: list[tuple[str, str]] = []
    section = ""
    for block in re.split(r"\n\n+|\n(?=- |\| )", PAGE.read_text(encoding="utf-8")):
        text = " ".join(block.split())
        if text.startswith("#"):
            section = text
        elif text and not text.startswith(("| call |", "|---")):
            found.append((section, text))
    return found


@cache
def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_stands_in_the_page_once(promise: str) -> None:
    assert sum(text.count(promise) for _, text in units()) == 1


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_is_executed(promise: str) -> None:
    for node in PROMISES[promise]:
        file, name = node.split("::")
        assert name in names_in(ROOT / "tests" / file), node


def test_nothing_is_promised_that_no_test_executes() -> None:
    bare = [
        f"{section}: {text[:80]}"
        for section, text in units()
        if not text.startswith(EXPLAINS) and not any(promise in text for promise in PROMISES)
    ]
    assert not bare, "\n".join(bare)
