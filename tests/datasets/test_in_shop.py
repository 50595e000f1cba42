from pml_gpw.datasets import InShop

from . import miniatures


def test_in_shop_wherever_its_files_are(tmp_path):
    for i, (images, partition) in enumerate(
        [("img", "Eval"), ("img_highres", "Eval"), ("img", "."), ("Img/img", "Anno")]
    ):
        root = tmp_path / str(i)
        miniatures.in_shop(root, images, partition)
        (root / "img").mkdir(exist_ok=True)  # an empty folder beside the images is passed over
        data = InShop(root, "query")
        assert sorted(set(data.labels)) == [3, 4, 90, 7982]
        assert f"/{images}/WOMEN/Blouses Shirts/" in data.paths[0]
        assert {*InShop(root, "gallery").labels} == {*data.labels}
