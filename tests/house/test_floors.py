"""The house holds: the floors of import-linter, and packages entered by their doors."""

import grimp

PACKAGES = ("card", "services")


def test_packages_are_entered_by_their_door() -> None:
    """From outside, a package of ``card`` or ``services`` is imported as itself, or by the rooms that face the edges."""
    graph = grimp.build_graph("app", "card", "services", "portal")
    edges = ("api", "jobs", "models", "cli")  # the roof mounts APIs and jobs, and gathers tables
    wrong = []
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            parts = target.split(".")
            if parts[0] not in PACKAGES or len(parts) < 3:
                continue
            home = ".".join(parts[:2])
            if module == home or module.startswith(home + "."):
                continue
            if parts[2] in edges and module.startswith("app."):
                continue
            if module.startswith("app.demo."):
                continue
            wrong.append(f"{module} -> {target}")
    assert sorted(wrong) == []
