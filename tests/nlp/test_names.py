"""Names of third people: beside words for people, in lists, between words; and what only looks like a name."""

from __future__ import annotations

import time

import pytest

from nlp.pii import mask


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # a word for a person before it
        ("村民张大山反映路面塌陷", "村民张**反映路面塌陷"),
        ("邻居李福每天半夜敲墙", "邻居李*每天半夜敲墙"),
        ("我父亲陈国华今年七十", "我父亲陈**今年七十"),
        ("包工头刘正良拖欠工资", "包工头刘**拖欠工资"),
        ("请求追究法定代表人谭正坤的责任", "请求追究法定代表人谭**的责任"),
        ("班主任“孙丽萍”收补课费", "班主任“孙**”收补课费"),
        ("民警罗永贵到场后就走了", "民警罗**到场后就走了"),
        ("业主欧阳建平家漏水", "业主欧阳**家漏水"),
        ("有个叫覃贵生的天天来收钱", "有个叫覃**的天天来收钱"),
        ("被告人：彭志远", "被告人：彭**"),
        ("村主任李平安排人来", "村主任李*安排人来"),  # 安排, not 平安
        ("居民王建国家里漏水", "居民王**家里漏水"),
        # a word for a person behind it
        ("于是我找到李金雄镇长", "于是我找到李**镇长"),
        ("尊敬的周辉县长：您好", "尊敬的周*县长：您好"),
        ("由覃海燕老师代课", "由覃**老师代课"),
        ("杨秀英夫妇住在三楼", "杨**夫妇住在三楼"),
        ("尊敬的向曙光局长：", "尊敬的向**局长："),
        ("石凤仙，女，62岁，低保户", "石**，女，62岁，低保户"),
        ("王建国（男，48岁）持刀", "王**（男，48岁）持刀"),
        # between words
        ("公司将刘庆祥开除，对刘庆祥不公", "公司将刘**开除，对刘**不公"),
        ("小学蒋莉莎违规进编", "小学蒋**违规进编"),
        # in rows and under letters
        ("我们是倪畅、倪伍、黄波浪，要工钱", "我们是倪*、倪*、黄**，要工钱"),
        ("住户李健和旷洁不同意", "住户李*和旷*不同意"),
        ("代表签名：刘正先 蔡桂枚 胡建平 莫芳棋", "代表签名：刘** 蔡** 胡** 莫**"),
        ("此致\n钟 忠 罗佑新 龙 凯 陈珍秀", "此致\n钟** 罗** 龙** 陈**"),
        # once known, everywhere
        ("王喜双找人打我。我认识司机王喜双。", "王**找人打我。我认识司机王**。"),
        ("村民張大山反映", "村民張**反映"),
    ],
)
def test_masks_the_names_of_third_people(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "居民凌晨被吵醒",
        "学生幸福感低，老师严格要求",
        "业主陆续搬走，住户宁愿租房",
        "村民林地被占，农民苗木被毁",
        "工人施工噪声大，职工权益受损",
        "患者康复后，医生齐心协力",
        "家长许多意见，市民普遍反对",
        "业主费用上涨，租户房租翻倍",
        "卫生局局长、项目经理、公司经理、营业部主任",
        "尊敬的陈书记、李局长、张老师",
        "感谢罗局长，祝陈书记顺利",
        "金兰社区长期停水，李家村长年失修",
        "惠民工程已经烂尾",
        "陈某、李某某、丁某康",
        "宋主任说等通知，县里宋主任也说",
        "政协委员李明远建议，人大代表沈志强提出",
        "李明远委员提出，李明远还说",
        "白石渡镇、秦桥镇、封刀岭社区、杨家湾小区",
        "南明、云岩、花溪、乌当、白云五区",
        "苗木、林地、田土、房屋被占",
        "毛泽东故居、王阳明洞、雷锋精神",
        "以习近平同志为核心",
        "师德师风",
        "龙洞堡机场出租车排队，在龙洞堡设接驳点",
        "请老师傅来教，全靠老师傅手感",
        "课上戴麦克风，代账会计",
        "广场大妈十点还在跳",
        "开发商钱赚得不够多",
        "学习王法，周转房",
    ],
)
def test_leaves_what_only_looks_like_a_name(text: str) -> None:
    assert mask(text) == text


def test_time_grows_with_the_length_only() -> None:
    """Twenty times the text takes nothing like four hundred times as long, whatever is repeated in it."""

    def seconds(piece: str, length: int) -> float:
        text = piece * (length // len(piece))
        began = time.perf_counter()
        mask(text)
        return time.perf_counter() - began

    mask("村民张大山反映")  # reads the dictionary
    for piece in ("李明、", "钟 忠 ", "主任张", "李金雄镇长、", "王", "刘庆祥到"):
        assert seconds(piece, 20_000) < 100 * max(seconds(piece, 1_000), 0.005)
