from __future__ import annotations

from bootserve.model.shape import SHAPES, ShapeSetting, other_shape


def test_a_setting_fixes_its_shape_and_auto_none() -> None:
    assert {str(one): one.fixed for one in ShapeSetting} == {
        "auto": None,
        "pxe10": "pxe10",
        "binl": "binl",
    }


def test_there_are_two_shapes() -> None:
    assert [other_shape(shape) for shape in SHAPES] == ["binl", "pxe10"]
