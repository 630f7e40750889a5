from sidecar.policy.scopes import ScopeRule, ScopeTree, cycle


def tree(**implies):
    return {name: ScopeRule(name, "", tuple(implied)) for name, implied in implies.items()}


def test_implies_is_transitive():
    scopes = ScopeTree(tree(admin=["write"], write=["read"], read="", other=""))
    assert scopes.expand(["admin"]) == {"admin", "write", "read"}
    assert scopes.expand(["write", "openid"]) == {"write", "read", "openid"}
    assert scopes.granting("read") == ("read", "admin", "write")
    assert scopes.granting("other") == ("other",)


def test_a_cycle_is_found_and_a_diamond_is_none():
    assert cycle(tree(a=["b"], b=["c"], c=["b"])) == ("b", "c", "b")
    assert cycle(tree(a=["a"])) == ("a", "a")
    assert cycle(tree(a=["b", "c"], b=["d"], c=["d"], d="")) is None
