from __future__ import annotations

import pytest

from nlp.pii import find_pii, is_citizen_id, is_luhn


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("身份证11010519491231002X。", "CITIZEN_ID", "11010519491231002X"),
        ("手机138-1234-5678找我", "MOBILE", "138-1234-5678"),
        ("电话+86 13812345678", "MOBILE", "+86 13812345678"),
        ("手机138.1234.5678", "MOBILE", "138.1234.5678"),
        ("8613812345678", "MOBILE", "8613812345678"),
        ("座机0851-85865934", "LANDLINE", "0851-85865934"),
        ("座机（0851）85865934", "LANDLINE", "（0851）85865934"),
        ("座机0851—85865934", "LANDLINE", "0851—85865934"),
        ("贵A12345堵门", "PLATE", "贵A12345"),
        ("贵AD12345堵门", "PLATE", "贵AD12345"),
        ("卡号6222020200112230", "BANK_CARD", "6222020200112230"),
        ("发到a.b@163.com谢谢", "EMAIL", "a.b@163.com"),
    ],
)
def test_finds(text: str, kind: str, found: str) -> None:
    assert [(text[a:b], k) for a, b, k in find_pii(text)] == [(found, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "身份证110105194912310021",  # wrong check digit
        "卡号6222020200112231",  # fails Luhn
        "工单20240506123456789",
        "订单号138123456789",  # twelve digits
        "面积12345.67平方米",
        "打12345",
        "",
    ],
)
def test_leaves_other_numbers_alone(text: str) -> None:
    assert list(find_pii(text)) == []


def test_check_digits() -> None:
    assert is_citizen_id("11010519491231002X")
    assert not is_citizen_id("110105194912310021")
    assert is_luhn("4111111111111111")
    assert not is_luhn("4111111111111112")


def test_pieces_are_ordered_and_do_not_overlap() -> None:
    found = list(find_pii("13812345678,0851-85865934,贵A12345"))
    assert [kind for _, _, kind in found] == ["MOBILE", "LANDLINE", "PLATE"]
    assert all(a[1] <= b[0] for a, b in zip(found, found[1:], strict=False))
