"""The toy set of the tutorial, as it stands, through the magics in a real kernel."""

from tests.kernel import Kernel

TOY = "toy = [{'input': '苹果是一种什么', 'labels': '食物'}, {'input': '狗是一种什么', 'labels': '动物'}]"


def test_two_chinese_rows_through_finetune_and_predict(kernel: Kernel) -> None:
    kernel.run(f"%load_ext gpt_magic\n{TOY}")
    trained = kernel.run("%%finetune toy -o clf\nbase = 'scratch'\nepochs = 12")
    assert trained.status == "ok", trained.traceback
    line = kernel.run("%predict clf 苹果是一种什么")
    assert "食物" in line.result["text/plain"]
    cell = kernel.run("answers = get_ipython().run_cell_magic('predict', 'clf', '苹果是一种什么\\n狗是一种什么')")
    assert cell.status == "ok", cell.traceback
    assert kernel.run("print(*answers['prediction'])").stdout.strip() == "食物 动物"
