import pytest


@pytest.fixture(params=["torch", "faiss", "auto"])
def backend(request):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return request.param
