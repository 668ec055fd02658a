from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.pii import find_pii, is_citizen_id, is_luhn, mask


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
        ("电话：85865934", "LANDLINE", "85865934"),
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("我叫张三，路灯坏了", "我叫张*，路灯坏了"),
        ("我叫张三丰住在花果园", "我叫张**住在花果园"),
        ("我叫李建现，五十岁", "我叫李**，五十岁"),
        ("我叫欧阳建平。", "我叫欧阳**。"),
        ("我名叫曾志伟，", "我名叫曾**，"),
        ("本人李四，反映路灯", "本人李*，反映路灯"),
        ("本人石凡正，男，49岁", "本人石**，男，49岁"),
        ("我是李明，小区路灯坏了", "我是李*，小区路灯坏了"),
        ("联系人：王五", "联系人：王*"),
        ("反映人:覃有贵 电话见附件", "反映人:覃** 电话见附件"),
        ("姓名：陈𬍡，女", "姓名：陈*，女"),
        ("申诉人史德全，男", "申诉人史**，男"),
        ("王小红女士、欧阳锋先生来访", "王**女士、欧阳*先生来访"),
        ("落款 张伟 电话13812345678", "落款 张* 电话***********"),
        ("我叫張三豐，路燈壞了", "我叫張**，路燈壞了"),
    ],
)
def test_masks_the_names_people_give_as_their_own(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "张先生、王女士来电",  # the surname is all there is
        "联系人：程小姐",
        "本人高度重视此事",
        "本人周末去过，没人",
        "本人于昨日，向社区反映",
        "我是石阡人，父亲七十八岁",
        "我是高校的，不是企业的",
        "我是班长，我给领导反映下",
        "我叫救护车也进不来",
        "政协委员张三先生调研",
        "本人李四，市政协委员，",
        "反映人：居委会",
        "谢谢叔叔阿姨",
        "",
    ],
)
def test_leaves_what_is_no_name_of_a_citizen(text: str) -> None:
    assert mask(text) == text


def test_the_submitters_own_name_is_found_wherever_it_stands() -> None:
    assert mask("张三丰说，张 三丰家漏水，找张三丰", "张三丰") == "张**说，张***家漏水，找张**"
    assert mask("王芳家漏水", "王芳女士") == "王*家漏水"
    assert mask("市民反映，群众意见大", "市民") == "市民反映，群众意见大"
    assert mask("张三丰委员反映，联系人：王五", "张三丰", public=True) == "张三丰委员反映，联系人：王*"
    assert mask("李说", "李") == "李说"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("我家住花果园R区3栋2单元501室，漏水", "我家住花果园R区*********，漏水"),
        ("本人家住中山路12号3楼，", "本人家住中山路*****，"),
        ("住址：云谷花园7栋1902", "住址：云谷花园******"),
        ("本人住3-2-501，请上门", "本人住*******，请上门"),
        ("3栋2单元501室业主王女士", "*********业主王女士"),
        ("3栋2单元501，电话13812345678", "********，电话***********"),
        ("联系人：王五，云岩区某苑十栋二单元三楼", "联系人：王*，云岩区某苑*******"),
        ("家住4栋1单元1203。4栋1单元0903在装修", "家住*********。4栋1单元0903在装修"),
    ],
)
def test_masks_the_door_of_a_person_from_the_building_on(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "花果园R区3栋2单元501室违规开餐馆",
        "本人反映花果园3栋2单元101室违规开餐馆",
        "张先生反映3栋1单元101麻将馆扰民",
        "我家对面3栋1单元101是麻将馆",
        "我家楼上的3栋1单元602装修",
        "我家住花果园R区3栋2单元",  # a staircase is not a door
        "住宅楼3栋2单元501室漏水",
        "电梯困住3栋2单元501的老人",
        "建议3号楼2层改为食堂，联系电话见下",
        "2024-5-601文件",
    ],
)
def test_leaves_the_place_of_the_matter(text: str) -> None:
    assert mask(text) == text


def test_every_door_of_an_address_is_personal() -> None:
    assert mask("云谷花园7栋3单元1902室", resident=True) == "云谷花园**********"
    assert mask("云谷花园7栋3单元1902室") == "云谷花园7栋3单元1902室"


@given(st.text(st.sampled_from("我叫张三本人李四住3栋2单元501室，。先生电话13812345678贵A④𠮷🙂\u200b\n "), max_size=60))
def test_masking_keeps_every_other_code_point_where_it_was(text: str) -> None:
    shown = mask(text, "张三")
    assert len(shown) == len(text)
    assert all(a in {b, "*"} for a, b in zip(shown, text, strict=True))


def test_disguised_numbers_are_found_and_keep_their_length() -> None:
    assert mask("电话１３８\u200b１２３４５６７８。") == "电话" + "*" * 12 + "。"
