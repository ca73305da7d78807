"""The question whether to start a project with a destroyed database again."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QMessageBox


def wants_to_restore(name: str, reason: str) -> bool:
    """Ask whether to start a project again from the readable copies of its prompts, objects and settings.

    Parameters
    ----------
    name : str
        Name of the project's folder.
    reason : str
        Why it can't be opened; shown on demand.
    """
    box = QMessageBox(QApplication.activeWindow())
    box.setObjectName("sam2RestoreDialog")
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("Damaged project")
    box.setText(f"The database of {name} is damaged.")
    box.setInformativeText(
        "Its prompts, objects and settings are still there: start the project again from them, and track its masks "
        "again. The damaged database is kept beside the new one."
    )
    box.setDetailedText(reason)
    start = box.addButton("Start again", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return box.clickedButton() is start
