"""The documents' pictures can be drawn again, and are the ones that are committed."""

from pathlib import Path

import cv2
import numpy as np

from sim.pictures import main


def test_the_pictures_of_the_documents_are_drawn_from_the_twin(
    tmp_path: Path, checkout: Path
) -> None:
    main(tmp_path)

    for name, size in (("twin.png", (720, 1200)), ("cameras.png", (480, 1600))):
        drawn = cv2.imread(str(tmp_path / name))
        committed = cv2.imread(str(checkout / "docs" / "pictures" / name))
        assert drawn is not None
        assert committed is not None
        assert drawn.shape[:2] == size
        assert (tmp_path / name).stat().st_size < 300_000
        # Another graphics library may draw edges differently, but not another picture.
        assert np.abs(drawn.astype(float) - committed).mean() < 3.0
